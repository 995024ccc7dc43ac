// One AXI4-Lite access for each flip of `request`, answered by a flip of `answered`.
//
// Python touches nothing but the left side, and only flip-flops look at that: an input that reached the
// accelerator's logic directly would make the compiled simulation evaluate it on each call.

module register_port #(
    parameter PATIENCE = 1000  // cycles without an answer that end an access
) (
    input wire clk,
    input wire rst,
    input wire request,
    input wire write,
    input wire [7:0] address,
    input wire [31:0] data,
    output reg answered,
    output reg [31:0] value,
    output reg [2:0] response,  // AXI4's response code, or 4: no answer

    output reg [7:0] s_axil_awaddr,
    output reg s_axil_awvalid,
    input wire s_axil_awready,
    output reg [31:0] s_axil_wdata,
    output wire [3:0] s_axil_wstrb,
    output reg s_axil_wvalid,
    input wire s_axil_wready,
    input wire [1:0] s_axil_bresp,
    input wire s_axil_bvalid,
    output wire s_axil_bready,
    output reg [7:0] s_axil_araddr,
    output reg s_axil_arvalid,
    input wire s_axil_arready,
    input wire [31:0] s_axil_rdata,
    input wire [1:0] s_axil_rresp,
    input wire s_axil_rvalid,
    output wire s_axil_rready
);
    reg busy;
    reg ended;
    reg [15:0] waited;

    assign s_axil_wstrb = 4'b1111;
    assign s_axil_bready = 1'b1;
    assign s_axil_rready = 1'b1;

    always @(posedge clk) begin
        if (rst) begin
            busy <= 0;
            answered <= request;
            s_axil_awvalid <= 0;
            s_axil_wvalid <= 0;
            s_axil_arvalid <= 0;
        end else if (!busy) begin
            if (request != answered) begin
                busy <= 1;
                ended <= 0;
                waited <= 0;
                s_axil_awaddr <= address;
                s_axil_araddr <= address;
                s_axil_wdata <= data;
                s_axil_awvalid <= write;
                s_axil_wvalid <= write;
                s_axil_arvalid <= !write;
            end
        end else begin
            waited <= waited + 1;
            if (s_axil_awready) s_axil_awvalid <= 0;
            if (s_axil_wready) s_axil_wvalid <= 0;
            if (s_axil_arready) s_axil_arvalid <= 0;
            if (ended) begin  // a cycle after the answer, which has then settled
                busy <= 0;
                answered <= request;
            end else if (s_axil_bvalid || s_axil_rvalid || waited == PATIENCE) begin
                ended <= 1;
                value <= s_axil_rdata;
                response <= s_axil_bvalid ? {1'b0, s_axil_bresp} : s_axil_rvalid ? {1'b0, s_axil_rresp} : 3'd4;
                s_axil_awvalid <= 0;
                s_axil_wvalid <= 0;
                s_axil_arvalid <= 0;
            end
        end
    end
endmodule
