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

    output reg [7:0] awaddr,
    output reg awvalid,
    input wire awready,
    output reg [31:0] wdata,
    output wire [3:0] wstrb,
    output reg wvalid,
    input wire wready,
    input wire [1:0] bresp,
    input wire bvalid,
    output wire bready,
    output reg [7:0] araddr,
    output reg arvalid,
    input wire arready,
    input wire [31:0] rdata,
    input wire [1:0] rresp,
    input wire rvalid,
    output wire rready
);
    reg busy;
    reg ended;
    reg [15:0] waited;

    assign wstrb = 4'b1111;
    assign bready = 1'b1;
    assign rready = 1'b1;

    always @(posedge clk) begin
        if (rst) begin
            busy <= 0;
            answered <= request;
            awvalid <= 0;
            wvalid <= 0;
            arvalid <= 0;
        end else if (!busy) begin
            if (request != answered) begin
                busy <= 1;
                ended <= 0;
                waited <= 0;
                awaddr <= address;
                araddr <= address;
                wdata <= data;
                awvalid <= write;
                wvalid <= write;
                arvalid <= !write;
            end
        end else begin
            waited <= waited + 1;
            if (awready) awvalid <= 0;
            if (wready) wvalid <= 0;
            if (arready) arvalid <= 0;
            if (ended) begin  // a cycle after the answer, which has then settled
                busy <= 0;
                answered <= request;
            end else if (bvalid || rvalid || waited == PATIENCE) begin
                ended <= 1;
                value <= rdata;
                response <= bvalid ? {1'b0, bresp} : rvalid ? {1'b0, rresp} : 3'd4;
                awvalid <= 0;
                wvalid <= 0;
                arvalid <= 0;
            end
        end
    end
endmodule
