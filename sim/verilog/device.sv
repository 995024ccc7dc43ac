// The accelerator and what watches it: the recorder of its vectors, the checker of its bus.  Its AXI ports are brought
// out: to bulk.sv's memory, or as the top of the protocol bench to cocotbext-axi, which stalls and delays each channel.
// The accelerator's monitor is reached inside it, so that the file that is simulated is the file that is synthesized;
// through its ports where it has them (SYSTOLITH_MONITOR_PORTS).

module device #(
    parameter BUS_BYTES = 8,
    parameter MONITOR_BYTES = 8,
    parameter MONITOR_ADDRESS_BITS = 32,
    parameter MONITOR_COUNT_BITS = 8
) (
    input wire clk,
    input wire rst,
    input wire watch,
    input wire [63:0] patience,
    input wire [63:0] limit,
    input wire [63:0] trace_start,
    input wire [63:0] trace_stop,
    input wire [39:0] base,
    input wire [31:0] bytes,
    output wire [63:0] cycle,
    output wire [1:0] stuck,
    output wire [7:0] violation,
    output wire [63:0] violation_cycle,
    output wire [39:0] violation_address,
    output wire interrupt,
    output reg wake,  // anything that Python waits for, a cycle after it has settled
    input wire [7:0] s_axil_awaddr,
    input wire s_axil_awvalid,
    input wire [31:0] s_axil_wdata,
    input wire [3:0] s_axil_wstrb,
    input wire s_axil_wvalid,
    input wire s_axil_bready,
    input wire [7:0] s_axil_araddr,
    input wire s_axil_arvalid,
    input wire s_axil_rready,
    output wire s_axil_awready,
    output wire s_axil_wready,
    output wire [1:0] s_axil_bresp,
    output wire s_axil_bvalid,
    output wire s_axil_arready,
    output wire [31:0] s_axil_rdata,
    output wire [1:0] s_axil_rresp,
    output wire s_axil_rvalid,
    output wire [0:0] m_axi_arid,
    output wire [39:0] m_axi_araddr,
    output wire [7:0] m_axi_arlen,
    output wire [2:0] m_axi_arsize,
    output wire [1:0] m_axi_arburst,
    output wire [0:0] m_axi_arlock,
    output wire [3:0] m_axi_arcache,
    output wire [2:0] m_axi_arprot,
    output wire [3:0] m_axi_arqos,
    output wire m_axi_arvalid,
    output wire m_axi_rready,
    output wire [0:0] m_axi_awid,
    output wire [39:0] m_axi_awaddr,
    output wire [7:0] m_axi_awlen,
    output wire [2:0] m_axi_awsize,
    output wire [1:0] m_axi_awburst,
    output wire [0:0] m_axi_awlock,
    output wire [3:0] m_axi_awcache,
    output wire [2:0] m_axi_awprot,
    output wire [3:0] m_axi_awqos,
    output wire m_axi_awvalid,
    output wire [8*BUS_BYTES-1:0] m_axi_wdata,
    output wire [BUS_BYTES-1:0] m_axi_wstrb,
    output wire m_axi_wlast,
    output wire m_axi_wvalid,
    output wire m_axi_bready,
    input wire m_axi_arready,
    input wire [0:0] m_axi_rid,
    input wire [8*BUS_BYTES-1:0] m_axi_rdata,
    input wire [1:0] m_axi_rresp,
    input wire m_axi_rlast,
    input wire m_axi_rvalid,
    input wire m_axi_awready,
    input wire m_axi_wready,
    input wire [0:0] m_axi_bid,
    input wire [1:0] m_axi_bresp,
    input wire m_axi_bvalid
);
    wire monitor_valid;
    wire [MONITOR_ADDRESS_BITS-1:0] monitor_address;
    wire [MONITOR_COUNT_BITS-1:0] monitor_count;
    wire [8*MONITOR_BYTES-1:0] monitor_data;
    wire finished;

    always @(posedge clk) wake <= !rst && (interrupt || stuck != 0 || violation != 0 || finished);

    systolith accelerator (.*);
`ifndef SYSTOLITH_MONITOR_PORTS
    assign monitor_valid = accelerator.monitor__valid;
    assign monitor_address = accelerator.monitor__address;
    assign monitor_count = accelerator.monitor__count;
    assign monitor_data = accelerator.monitor__data;
`endif

    recorder #(.BYTES(MONITOR_BYTES), .COUNT_BITS(MONITOR_COUNT_BITS)) recorder (
        .bus_active(
            (m_axi_arvalid && m_axi_arready) || (m_axi_rvalid && m_axi_rready) || (m_axi_awvalid && m_axi_awready)
            || (m_axi_wvalid && m_axi_wready) || (m_axi_bvalid && m_axi_bready)),
        .monitor_address(32'd0 | monitor_address),
        .*
    );

    axi_checker #(.BUS_BYTES(BUS_BYTES)) checker_of_master (.*);
endmodule
