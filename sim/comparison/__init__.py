"""What the accelerator must write, and where what it wrote differs; simulator and command line share it."""
