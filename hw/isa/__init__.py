"""What compiler and circuits share: parameters, instructions, registers."""
