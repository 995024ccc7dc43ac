"""What runs in the simulator's process: memories, registers and the course of an image, under cocotb."""
