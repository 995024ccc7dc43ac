// The accelerator with a memory beside it, for many images and whole networks: Python drives the registers,
// attaches the memory's bytes, and sleeps until `wake`.

module bulk #(
    parameter BUS_BYTES = 8,
    parameter MONITOR_BYTES = 8,
    parameter MONITOR_ADDRESS_BITS = 32,
    parameter MONITOR_COUNT_BITS = 8,
    parameter MEMORY_BYTES = 4096
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
    input wire [39:0] origin,  // where the memory model begins on the bus
    input wire [31:0] latency,
    input wire load,
    input wire dump,
    input wire [1:0] read_error,
    input wire [31:0] read_error_first,
    input wire [31:0] read_error_last,
    input wire [1:0] write_error,
    input wire [31:0] write_error_first,
    input wire [31:0] write_error_last,
    output wire [63:0] cycle,
    output wire [1:0] stuck,
    output wire [7:0] violation,
    output wire [63:0] violation_cycle,
    output wire [39:0] violation_address,
    output wire interrupt,
    output wire wake,
    input wire request,
    input wire request_write,
    input wire [7:0] request_address,
    input wire [31:0] request_data,
    output wire answered,
    output wire [31:0] answer,
    output wire [2:0] answer_response
);
    reg reset;  // like every input, through a flip-flop: see register_port
    always @(posedge clk) reset <= rst;

    wire [7:0] s_axil_awaddr, s_axil_araddr;
    wire s_axil_awvalid, s_axil_wvalid, s_axil_bready, s_axil_arvalid, s_axil_rready, s_axil_awready, s_axil_wready,
        s_axil_bvalid, s_axil_arready, s_axil_rvalid;
    wire [31:0] s_axil_wdata, s_axil_rdata;
    wire [3:0] s_axil_wstrb;
    wire [1:0] s_axil_bresp, s_axil_rresp;
    wire [0:0] m_axi_arid, m_axi_awid, m_axi_rid, m_axi_bid, m_axi_arlock, m_axi_awlock;
    wire [3:0] m_axi_arcache, m_axi_awcache, m_axi_arqos, m_axi_awqos;
    wire [2:0] m_axi_arprot, m_axi_awprot;
    wire [39:0] m_axi_araddr, m_axi_awaddr;
    wire [39:0] read_place = m_axi_araddr - origin;
    wire [39:0] write_place = m_axi_awaddr - origin;
    wire [7:0] m_axi_arlen, m_axi_awlen;
    wire [2:0] m_axi_arsize, m_axi_awsize;
    wire [1:0] m_axi_arburst, m_axi_awburst, m_axi_rresp, m_axi_bresp;
    wire m_axi_arvalid, m_axi_rready, m_axi_awvalid, m_axi_wlast, m_axi_wvalid, m_axi_bready, m_axi_arready,
        m_axi_rlast, m_axi_rvalid, m_axi_awready, m_axi_wready, m_axi_bvalid;
    wire [8*BUS_BYTES-1:0] m_axi_wdata, m_axi_rdata;
    wire [BUS_BYTES-1:0] m_axi_wstrb;

    device #(
        .BUS_BYTES(BUS_BYTES),
        .MONITOR_BYTES(MONITOR_BYTES),
        .MONITOR_ADDRESS_BITS(MONITOR_ADDRESS_BITS),
        .MONITOR_COUNT_BITS(MONITOR_COUNT_BITS)
    ) device (.rst(reset), .*);

    axi_memory #(.BUS_BYTES(BUS_BYTES), .MEMORY_BYTES(MEMORY_BYTES)) memory (
        .rst(reset),
        .m_axi_araddr(read_place[31:0]),
        .m_axi_awaddr(write_place[31:0]),
        .*
    );

    register_port registers (
        .rst(reset),
        .write(request_write),
        .address(request_address),
        .data(request_data),
        .value(answer),
        .response(answer_response),
        .*
    );
endmodule
