// Has the accelerator's ports and sixteen registers that remember; never asks its memory for anything.  The interrupt is
// the lowest bit of the first.
module systolith #(parameter BYTES = 8) (
  input clk, input rst, output interrupt,
  input [7:0] s_axil_awaddr, input s_axil_awvalid, output s_axil_awready,
  input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb, input s_axil_wvalid, output s_axil_wready,
  output [1:0] s_axil_bresp, output reg s_axil_bvalid, input s_axil_bready,
  input [7:0] s_axil_araddr, input s_axil_arvalid, output s_axil_arready,
  output reg [31:0] s_axil_rdata, output [1:0] s_axil_rresp, output reg s_axil_rvalid, input s_axil_rready,
  output m_axi_arid, output [39:0] m_axi_araddr, output [7:0] m_axi_arlen, output [2:0] m_axi_arsize,
  output [1:0] m_axi_arburst, output m_axi_arlock, output [3:0] m_axi_arcache, output [2:0] m_axi_arprot,
  output [3:0] m_axi_arqos, output m_axi_arvalid, input m_axi_arready,
  input m_axi_rid, input [8*BYTES-1:0] m_axi_rdata, input [1:0] m_axi_rresp, input m_axi_rlast, input m_axi_rvalid,
  output m_axi_rready,
  output m_axi_awid, output [39:0] m_axi_awaddr, output [7:0] m_axi_awlen, output [2:0] m_axi_awsize,
  output [1:0] m_axi_awburst, output m_axi_awlock, output [3:0] m_axi_awcache, output [2:0] m_axi_awprot,
  output [3:0] m_axi_awqos, output m_axi_awvalid, input m_axi_awready,
  output [8*BYTES-1:0] m_axi_wdata, output [BYTES-1:0] m_axi_wstrb, output m_axi_wlast, output m_axi_wvalid,
  input m_axi_wready, input m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output m_axi_bready
);
  reg [31:0] registers [0:15];
  reg first;
  assign interrupt = first;
  wire write = s_axil_awvalid & s_axil_wvalid & ~s_axil_bvalid;
  wire read = s_axil_arvalid & ~s_axil_rvalid;
  assign s_axil_awready = write, s_axil_wready = write, s_axil_arready = read;
  assign s_axil_bresp = 0, s_axil_rresp = 0;
  assign {m_axi_arid, m_axi_araddr, m_axi_arlen, m_axi_arsize, m_axi_arburst, m_axi_arlock, m_axi_arcache} = 0;
  assign {m_axi_arprot, m_axi_arqos, m_axi_arvalid, m_axi_rready} = 0;
  assign {m_axi_awid, m_axi_awaddr, m_axi_awlen, m_axi_awsize, m_axi_awburst, m_axi_awlock, m_axi_awcache} = 0;
  assign {m_axi_awprot, m_axi_awqos, m_axi_awvalid, m_axi_wdata, m_axi_wstrb, m_axi_wlast, m_axi_wvalid} = 0;
  assign m_axi_bready = 0;
  always @(posedge clk) begin
    if (write) registers[s_axil_awaddr[5:2]] <= s_axil_wdata;
    if (write & s_axil_awaddr == 0) first <= s_axil_wdata[0];
    if (read) s_axil_rdata <= registers[s_axil_araddr[5:2]];
    s_axil_bvalid <= ~rst & (write | s_axil_bvalid & ~s_axil_bready);
    s_axil_rvalid <= ~rst & (read | s_axil_rvalid & ~s_axil_rready);
    if (rst) first <= 0;
  end
endmodule
