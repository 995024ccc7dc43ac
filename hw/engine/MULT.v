// Models of Gowin's MULT9X9 and MULT18X18, for simulation: DOUT = A * B, signed, behind all registers.
//
// Source: Gowin UG287, DSP user guide.  Shift chains and unsigned operands are left out: another use shows as x.
module MULT9X9(
  input [8:0] A, SIA, B, SIB,
  input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
  output [17:0] DOUT,
  output [8:0] SOA, SOB
);
  parameter AREG = 1'b0;
  parameter BREG = 1'b0;
  parameter OUT_REG = 1'b0;
  parameter PIPE_REG = 1'b0;
  parameter ASIGN_REG = 1'b0;
  parameter BSIGN_REG = 1'b0;
  parameter SOA_REG = 1'b0;
  parameter MULT_RESET_MODE = "SYNC";
  reg signed [8:0] a, b;
  reg signed [17:0] product, held;
  always @(posedge CLK)
    if (CE) begin
      a <= A;
      b <= B;
      product <= a * b;
      held <= product;
    end
  assign DOUT = AREG & BREG & OUT_REG & PIPE_REG & ASIGN & BSIGN & ~ASEL & ~BSEL ? held : 18'bx;
  assign SOA = 9'bx;
  assign SOB = 9'bx;
endmodule

module MULT18X18(
  input [17:0] A, SIA, B, SIB,
  input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
  output [35:0] DOUT,
  output [17:0] SOA, SOB
);
  parameter AREG = 1'b0;
  parameter BREG = 1'b0;
  parameter OUT_REG = 1'b0;
  parameter PIPE_REG = 1'b0;
  parameter ASIGN_REG = 1'b0;
  parameter BSIGN_REG = 1'b0;
  parameter SOA_REG = 1'b0;
  parameter MULT_RESET_MODE = "SYNC";
  reg signed [17:0] a, b;
  reg signed [35:0] product, held;
  always @(posedge CLK)
    if (CE) begin
      a <= A;
      b <= B;
      product <= a * b;
      held <= product;
    end
  assign DOUT = AREG & BREG & OUT_REG & PIPE_REG & ASIGN & BSIGN & ~ASEL & ~BSEL ? held : 36'bx;
  assign SOA = 18'bx;
  assign SOB = 18'bx;
endmodule
