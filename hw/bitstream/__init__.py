"""From a build to the bitstream of a board without DRAM, by tools that pip installs."""
