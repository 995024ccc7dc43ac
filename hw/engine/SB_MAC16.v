// Model of Lattice iCE40's SB_MAC16, for simulation: a product of 16 bits, or with MODE_8x8 two of 8, behind registers.
//
// Source: Lattice FPGA-TN-02007, DSP function usage guide for iCE40.  The adders, C and D are left out, and every register is
// taken to be on: another use shows as x.
module SB_MAC16(
  input CLK, CE,
  input [15:0] A, B, C, D,
  input AHOLD, BHOLD, CHOLD, DHOLD, IRSTTOP, IRSTBOT, ORSTTOP, ORSTBOT, OLOADTOP, OLOADBOT,
  input ADDSUBTOP, ADDSUBBOT, OHOLDTOP, OHOLDBOT, CI, ACCUMCI, SIGNEXTIN,
  output [31:0] O,
  output CO, ACCUMCO, SIGNEXTOUT
);
  parameter [0:0] A_REG = 0;
  parameter [0:0] B_REG = 0;
  parameter [0:0] TOP_8x8_MULT_REG = 0;
  parameter [0:0] BOT_8x8_MULT_REG = 0;
  parameter [0:0] PIPELINE_16x16_MULT_REG1 = 0;
  parameter [0:0] PIPELINE_16x16_MULT_REG2 = 0;
  parameter [1:0] TOPOUTPUT_SELECT = 0;
  parameter [1:0] BOTOUTPUT_SELECT = 0;
  parameter [0:0] MODE_8x8 = 0;
  parameter [0:0] A_SIGNED = 0;
  parameter [0:0] B_SIGNED = 0;

  reg signed [15:0] a, b, top, bottom;
  reg signed [31:0] whole, whole_held;
  wire signed [7:0] a_top = a[15:8], a_bottom = a[7:0], b_top = b[15:8], b_bottom = b[7:0];
  always @(posedge CLK)
    if (CE) begin
      a <= A;
      b <= B;
      top <= a_top * b_top;
      bottom <= a_bottom * b_bottom;
      whole <= a * b;
      whole_held <= whole;
    end

  wire [3:0] select = {TOPOUTPUT_SELECT, BOTOUTPUT_SELECT};
  wire known = A_REG & B_REG & TOP_8x8_MULT_REG & BOT_8x8_MULT_REG & PIPELINE_16x16_MULT_REG1
    & PIPELINE_16x16_MULT_REG2 & A_SIGNED & B_SIGNED & select == (MODE_8x8 ? 4'b1010 : 4'b1111);
  assign O = ~known ? 32'bx : MODE_8x8 ? {top, bottom} : whole_held;
  assign {CO, ACCUMCO, SIGNEXTOUT} = 3'bx;
endmodule
