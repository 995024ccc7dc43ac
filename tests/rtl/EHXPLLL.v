// The ECP5's PLL as a simulation needs it: every output has the crystal's clock, and the lock comes late.
module EHXPLLL(
  input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC,
  input ENCLKOP, ENCLKOS,
  output CLKOP, CLKOS, output LOCK
);
  parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 8, CLKOS_DIV = 8;
  parameter CLKOP_CPHASE = 0, CLKOS_CPHASE = 0, CLKOP_FPHASE = 0, CLKOS_FPHASE = 0;
  parameter CLKOP_ENABLE = "ENABLED", CLKOS_ENABLE = "DISABLED", FEEDBK_PATH = "CLKOP";
  parameter PLLRST_ENA = "DISABLED", INTFB_WAKE = "DISABLED", STDBY_ENABLE = "DISABLED", DPHASE_SOURCE = "DISABLED";
  parameter OUTDIVIDER_MUXA = "DIVA", OUTDIVIDER_MUXB = "DIVB", OUTDIVIDER_MUXC = "DIVC", OUTDIVIDER_MUXD = "DIVD";
  reg [5:0] count = 0;
  always @(posedge CLKI) if (!LOCK) count <= count + 1'b1;
  assign LOCK = &count;
  assign CLKOP = CLKI;
  assign CLKOS = CLKOS_ENABLE == "ENABLED" & CLKI;
endmodule
