"""What stands beside the accelerator on a board without DRAM: a serial link, block RAM, and the top that joins them."""
