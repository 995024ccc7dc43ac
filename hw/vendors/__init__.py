"""What the tools of FPGA vendors and operating systems need to take a generated accelerator as theirs."""
