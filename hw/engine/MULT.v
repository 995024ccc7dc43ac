// Models of Gowin's MULT9X9 and MULT18X18, for simulation: DOUT = A * B, signed, behind all registers.
//
// Source: Gowin UG287, DSP user guide.  Shift chains and unsigned operands are left out: another use shows as x.
module signed_multiplier #(parameter WIDTH = 9)(
  input CLK, CE, supported,
  input signed [WIDTH-1:0] A, B,
  output [2*WIDTH-1:0] DOUT
);
  reg signed [WIDTH-1:0] a, b;
  reg signed [2*WIDTH-1:0] product, held;
  always @(posedge CLK)
    if (CE) begin
      a <= A;
      b <= B;
      product <= a * b;
      held <= product;
    end
  assign DOUT = supported ? held : {2*WIDTH{1'bx}};
endmodule

module MULT9X9 #(
  parameter AREG = 1'b0, BREG = 1'b0, OUT_REG = 1'b0, PIPE_REG = 1'b0,
  parameter ASIGN_REG = 1'b0, BSIGN_REG = 1'b0, SOA_REG = 1'b0, MULT_RESET_MODE = "SYNC"
)(
  input [8:0] A, SIA, B, SIB,
  input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
  output [17:0] DOUT,
  output [8:0] SOA, SOB
);
  wire supported = AREG & BREG & OUT_REG & PIPE_REG & ASIGN & BSIGN & ~ASEL & ~BSEL;
  signed_multiplier #(.WIDTH(9)) model(.CLK(CLK), .CE(CE), .supported(supported), .A(A), .B(B), .DOUT(DOUT));
  assign SOA = 9'bx;
  assign SOB = 9'bx;
endmodule

module MULT18X18 #(
  parameter AREG = 1'b0, BREG = 1'b0, OUT_REG = 1'b0, PIPE_REG = 1'b0,
  parameter ASIGN_REG = 1'b0, BSIGN_REG = 1'b0, SOA_REG = 1'b0, MULT_RESET_MODE = "SYNC"
)(
  input [17:0] A, SIA, B, SIB,
  input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
  output [35:0] DOUT,
  output [17:0] SOA, SOB
);
  wire supported = AREG & BREG & OUT_REG & PIPE_REG & ASIGN & BSIGN & ~ASEL & ~BSEL;
  signed_multiplier #(.WIDTH(18)) model(.CLK(CLK), .CE(CE), .supported(supported), .A(A), .B(B), .DOUT(DOUT));
  assign SOA = 18'bx;
  assign SOB = 18'bx;
endmodule
