// Model of Lattice ECP5's DP16KD, to simulate netlists: 1,024 rows of 18 bits behind two ports.
//
// Source: Lattice FPGA-TN-02204, memory usage guide for ECP5.  Memories begin with zeros.  Both ports take the engine's one
// clock, CLKA; output registers and chip selects are left out: such a use shows as x.  Where both ports meet in one row
// a read gives the old bits.
module DP16KD(
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter CLKAMUX = "CLKA";
  parameter CLKBMUX = "CLKB";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter GSR = "ENABLED";

  reg [17:0] memory[0:1023];
  reg [35:0] out_a, out_b;
  integer i;
  initial begin
    for (i = 0; i < 1024; i = i + 1) memory[i] = 18'd0;
    out_a = 36'd0;
    out_b = 36'd0;
  end

  // Bit of a row where a narrow word begins: bytes have 9 bits, of which words of 1, 2 and 4 use 8.
  function [4:0] first(input integer width, input [3:0] low);
    first = width >= 18 ? 5'd0 : (low[3] ? 5'd9 : 5'd0)
      + (width == 9 ? 5'd0 : width == 4 ? {2'd0, low[2], 2'd0} : width == 2 ? {2'd0, low[2:1], 1'd0} : {2'd0, low[2:0]});
  endfunction

  // Bits that a write changes: with whole rows the low address bits enable the bytes.
  function [35:0] mask(input integer width, input [3:0] low);
    mask = width == 36 ? {{9{low[3]}}, {9{low[2]}}, {9{low[1]}}, {9{low[0]}}}
      : width == 18 ? {18'd0, {9{low[1]}}, {9{low[0]}}} : ((36'd1 << width) - 36'd1) << first(width, low);
  endfunction

  wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] in_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] in_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  wire [9:0] row_a = DATA_WIDTH_A == 36 ? {address_a[13:5], 1'b0} : address_a[13:4];
  wire [9:0] row_b = DATA_WIDTH_B == 36 ? {address_b[13:5], 1'b0} : address_b[13:4];
  wire [35:0] old_a = {memory[row_a | 10'd1], memory[row_a]};
  wire [35:0] old_b = {memory[row_b | 10'd1], memory[row_b]};
  wire [4:0] first_a = first(DATA_WIDTH_A, address_a[3:0]);
  wire [4:0] first_b = first(DATA_WIDTH_B, address_b[3:0]);
  wire [35:0] mask_a = mask(DATA_WIDTH_A, address_a[3:0]);
  wire [35:0] mask_b = mask(DATA_WIDTH_B, address_b[3:0]);
  wire [35:0] new_a = (old_a & ~mask_a) | ({in_b & {18{DATA_WIDTH_A == 36}}, in_a} << first_a & mask_a);
  wire [35:0] new_b = (old_b & ~mask_b) | ({18'd0, in_b} << first_b & mask_b);

  always @(posedge CLKA) begin
    if (CEA & WEA) begin
      memory[row_a] <= new_a[17:0];
      if (DATA_WIDTH_A == 36) memory[row_a | 10'd1] <= new_a[35:18];
    end
    if (RSTA) out_a <= 36'd0;
    else if (CEA & (~WEA | WRITEMODE_A != "NORMAL")) out_a <= (WEA & WRITEMODE_A == "WRITETHROUGH" ? new_a : old_a) >> first_a;
    if (CEB & WEB) memory[row_b] <= new_b[17:0];
    if (RSTB) out_b <= 36'd0;
    else if (CEB & (~WEB | WRITEMODE_B != "NORMAL")) out_b <= (WEB & WRITEMODE_B == "WRITETHROUGH" ? new_b : old_b) >> first_b;
  end

  wire known = CLKAMUX == "CLKA" & CLKBMUX == "CLKB" & REGMODE_A == "NOREG" & REGMODE_B == "NOREG" & (RESETMODE == "SYNC" | ~(RSTA | RSTB))
    & ~(CSA0 | CSA1 | CSA2 | CSB0 | CSB1 | CSB2);
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} =
    ~known ? 18'bx : DATA_WIDTH_B == 36 ? out_b[17:0] : out_a[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} =
    ~known ? 18'bx : DATA_WIDTH_B == 36 ? out_b[35:18] : out_b[17:0];
endmodule
