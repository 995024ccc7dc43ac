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
    input wire [31:0] base,
    input wire [31:0] bytes,
    input wire [31:0] latency,
    input wire load,
    input wire dump,
    output wire [63:0] cycle,
    output wire [1:0] stuck,
    output wire [7:0] violation,
    output wire [63:0] violation_cycle,
    output wire [31:0] violation_address,
    output wire interrupt,
    output reg wake,  // anything that Python waits for, a cycle after it has settled
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

    wire [7:0] s_axil_awaddr;
    wire s_axil_awvalid;
    wire [31:0] s_axil_wdata;
    wire [3:0] s_axil_wstrb;
    wire s_axil_wvalid;
    wire s_axil_bready;
    wire [7:0] s_axil_araddr;
    wire s_axil_arvalid;
    wire s_axil_rready;
    wire s_axil_awready;
    wire s_axil_wready;
    wire [1:0] s_axil_bresp;
    wire s_axil_bvalid;
    wire s_axil_arready;
    wire [31:0] s_axil_rdata;
    wire [1:0] s_axil_rresp;
    wire s_axil_rvalid;
    wire [0:0] m_axi_arid;
    wire [31:0] m_axi_araddr;
    wire [7:0] m_axi_arlen;
    wire [2:0] m_axi_arsize;
    wire [1:0] m_axi_arburst;
    wire m_axi_arvalid;
    wire m_axi_rready;
    wire [0:0] m_axi_awid;
    wire [31:0] m_axi_awaddr;
    wire [7:0] m_axi_awlen;
    wire [2:0] m_axi_awsize;
    wire [1:0] m_axi_awburst;
    wire m_axi_awvalid;
    wire [8*BUS_BYTES-1:0] m_axi_wdata;
    wire [BUS_BYTES-1:0] m_axi_wstrb;
    wire m_axi_wlast;
    wire m_axi_wvalid;
    wire m_axi_bready;
    wire m_axi_arready;
    wire [0:0] m_axi_rid;
    wire [8*BUS_BYTES-1:0] m_axi_rdata;
    wire [1:0] m_axi_rresp;
    wire m_axi_rlast;
    wire m_axi_rvalid;
    wire m_axi_awready;
    wire m_axi_wready;
    wire [0:0] m_axi_bid;
    wire [1:0] m_axi_bresp;
    wire m_axi_bvalid;
    wire monitor_valid;
    wire [MONITOR_ADDRESS_BITS-1:0] monitor_address;
    wire [MONITOR_COUNT_BITS-1:0] monitor_count;
    wire [8*MONITOR_BYTES-1:0] monitor_data;
    wire finished;

    always @(posedge clk) wake <= !reset && (interrupt || stuck != 0 || violation != 0 || finished);

    register_port registers (
        .clk(clk),
        .rst(reset),
        .request(request),
        .write(request_write),
        .address(request_address),
        .data(request_data),
        .answered(answered),
        .value(answer),
        .response(answer_response),
        .awaddr(s_axil_awaddr),
        .awvalid(s_axil_awvalid),
        .awready(s_axil_awready),
        .wdata(s_axil_wdata),
        .wstrb(s_axil_wstrb),
        .wvalid(s_axil_wvalid),
        .wready(s_axil_wready),
        .bresp(s_axil_bresp),
        .bvalid(s_axil_bvalid),
        .bready(s_axil_bready),
        .araddr(s_axil_araddr),
        .arvalid(s_axil_arvalid),
        .arready(s_axil_arready),
        .rdata(s_axil_rdata),
        .rresp(s_axil_rresp),
        .rvalid(s_axil_rvalid),
        .rready(s_axil_rready)
    );

    systolith accelerator (
        .clk(clk),
        .rst(reset),
        .s_axil_awaddr(s_axil_awaddr),
        .s_axil_awvalid(s_axil_awvalid),
        .s_axil_wdata(s_axil_wdata),
        .s_axil_wstrb(s_axil_wstrb),
        .s_axil_wvalid(s_axil_wvalid),
        .s_axil_bready(s_axil_bready),
        .s_axil_araddr(s_axil_araddr),
        .s_axil_arvalid(s_axil_arvalid),
        .s_axil_rready(s_axil_rready),
        .s_axil_awready(s_axil_awready),
        .s_axil_wready(s_axil_wready),
        .s_axil_bresp(s_axil_bresp),
        .s_axil_bvalid(s_axil_bvalid),
        .s_axil_arready(s_axil_arready),
        .s_axil_rdata(s_axil_rdata),
        .s_axil_rresp(s_axil_rresp),
        .s_axil_rvalid(s_axil_rvalid),
        .m_axi_arid(m_axi_arid),
        .m_axi_araddr(m_axi_araddr),
        .m_axi_arlen(m_axi_arlen),
        .m_axi_arsize(m_axi_arsize),
        .m_axi_arburst(m_axi_arburst),
        .m_axi_arvalid(m_axi_arvalid),
        .m_axi_rready(m_axi_rready),
        .m_axi_awid(m_axi_awid),
        .m_axi_awaddr(m_axi_awaddr),
        .m_axi_awlen(m_axi_awlen),
        .m_axi_awsize(m_axi_awsize),
        .m_axi_awburst(m_axi_awburst),
        .m_axi_awvalid(m_axi_awvalid),
        .m_axi_wdata(m_axi_wdata),
        .m_axi_wstrb(m_axi_wstrb),
        .m_axi_wlast(m_axi_wlast),
        .m_axi_wvalid(m_axi_wvalid),
        .m_axi_bready(m_axi_bready),
        .m_axi_arready(m_axi_arready),
        .m_axi_rid(m_axi_rid),
        .m_axi_rdata(m_axi_rdata),
        .m_axi_rresp(m_axi_rresp),
        .m_axi_rlast(m_axi_rlast),
        .m_axi_rvalid(m_axi_rvalid),
        .m_axi_awready(m_axi_awready),
        .m_axi_wready(m_axi_wready),
        .m_axi_bid(m_axi_bid),
        .m_axi_bresp(m_axi_bresp),
        .m_axi_bvalid(m_axi_bvalid),
        .interrupt(interrupt),
        .monitor_valid(monitor_valid),
        .monitor_address(monitor_address),
        .monitor_count(monitor_count),
        .monitor_data(monitor_data)
    );

    recorder #(.BYTES(MONITOR_BYTES), .COUNT_BITS(MONITOR_COUNT_BITS)) recorder (
        .clk(clk),
        .rst(reset),
        .watch(watch),
        .patience(patience),
        .limit(limit),
        .trace_start(trace_start),
        .trace_stop(trace_stop),
        .bus_active(
            (m_axi_arvalid && m_axi_arready) || (m_axi_rvalid && m_axi_rready) || (m_axi_awvalid && m_axi_awready)
            || (m_axi_wvalid && m_axi_wready) || (m_axi_bvalid && m_axi_bready)),
        .monitor_valid(monitor_valid),
        .monitor_address(32'd0 | monitor_address),
        .monitor_count(monitor_count),
        .monitor_data(monitor_data),
        .cycle(cycle),
        .stuck(stuck),
        .finished(finished)
    );

    axi_checker #(.BUS_BYTES(BUS_BYTES)) checker_of_master (
        .clk(clk),
        .rst(reset),
        .cycle(cycle),
        .base(base),
        .bytes(bytes),
        .arid(m_axi_arid),
        .araddr(m_axi_araddr),
        .arlen(m_axi_arlen),
        .arsize(m_axi_arsize),
        .arburst(m_axi_arburst),
        .arvalid(m_axi_arvalid),
        .arready(m_axi_arready),
        .awid(m_axi_awid),
        .awaddr(m_axi_awaddr),
        .awlen(m_axi_awlen),
        .awsize(m_axi_awsize),
        .awburst(m_axi_awburst),
        .awvalid(m_axi_awvalid),
        .awready(m_axi_awready),
        .wdata(m_axi_wdata),
        .wstrb(m_axi_wstrb),
        .wlast(m_axi_wlast),
        .wvalid(m_axi_wvalid),
        .wready(m_axi_wready),
        .violation(violation),
        .violation_cycle(violation_cycle),
        .violation_address(violation_address)
    );

    axi_memory #(.BUS_BYTES(BUS_BYTES), .MEMORY_BYTES(MEMORY_BYTES)) memory (
        .clk(clk),
        .rst(reset),
        .latency(latency),
        .cycle(cycle),
        .load(load),
        .dump(dump),
        .arid(m_axi_arid),
        .araddr(m_axi_araddr),
        .arlen(m_axi_arlen),
        .arvalid(m_axi_arvalid),
        .arready(m_axi_arready),
        .rid(m_axi_rid),
        .rdata(m_axi_rdata),
        .rresp(m_axi_rresp),
        .rlast(m_axi_rlast),
        .rvalid(m_axi_rvalid),
        .rready(m_axi_rready),
        .awid(m_axi_awid),
        .awaddr(m_axi_awaddr),
        .awvalid(m_axi_awvalid),
        .awready(m_axi_awready),
        .wdata(m_axi_wdata),
        .wstrb(m_axi_wstrb),
        .wlast(m_axi_wlast),
        .wvalid(m_axi_wvalid),
        .wready(m_axi_wready),
        .bid(m_axi_bid),
        .bresp(m_axi_bresp),
        .bvalid(m_axi_bvalid),
        .bready(m_axi_bready)
    );
endmodule
