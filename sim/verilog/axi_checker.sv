// Watches an AXI4 master and latches the first rule that it breaks, with its cycle and address.
//
// Rules (ARM IHI 0022H): A3.2.1 valid stays, with the same payload, until ready; A3.4.1 no burst crosses 4 KiB;
// A3.4.1 wlast marks exactly the last beat.  Systolith's own: INCR bursts of full width, aligned, at most 16
// beats, inside [base, base + bytes).  Codes are named in sim/benches/protocol_rules.py.

module axi_checker #(
    parameter BUS_BYTES = 8
) (
    input wire clk,
    input wire rst,
    input wire [63:0] cycle,
    input wire [39:0] base,
    input wire [31:0] bytes,

    input wire [0:0] m_axi_arid,
    input wire [39:0] m_axi_araddr,
    input wire [7:0] m_axi_arlen,
    input wire [2:0] m_axi_arsize,
    input wire [1:0] m_axi_arburst,
    input wire m_axi_arvalid,
    input wire m_axi_arready,

    input wire [0:0] m_axi_awid,
    input wire [39:0] m_axi_awaddr,
    input wire [7:0] m_axi_awlen,
    input wire [2:0] m_axi_awsize,
    input wire [1:0] m_axi_awburst,
    input wire m_axi_awvalid,
    input wire m_axi_awready,
    input wire [8*BUS_BYTES-1:0] m_axi_wdata,
    input wire [BUS_BYTES-1:0] m_axi_wstrb,
    input wire m_axi_wlast,
    input wire m_axi_wvalid,
    input wire m_axi_wready,

    output reg [7:0] violation,
    output reg [63:0] violation_cycle,
    output reg [39:0] violation_address
);
    localparam SIZE = $clog2(BUS_BYTES);
    localparam DEPTH = 256;  // write bursts of which only the address or only the data has come

    // 0 when the burst keeps the rules
    function automatic [7:0] burst_fault(
        input [39:0] address, input [7:0] length, input [2:0] size, input [1:0] burst,
        input [39:0] first, input [31:0] count);
        reg [39:0] span;
        reg [39:0] offset;
        begin
            span = ({32'd0, length} + 1) * BUS_BYTES;
            offset = address - first;
            burst_fault = 0;
            if (offset >= {8'd0, count} || {8'd0, count} - offset < span) burst_fault = 7;
            if ((address & (BUS_BYTES - 1)) != 0) burst_fault = 6;
            if ({28'd0, address[11:0]} + span > 4096) burst_fault = 5;
            if (length > 15) burst_fault = 4;
            if (size != SIZE[2:0]) burst_fault = 3;
            if (burst != 2'b01) burst_fault = 2;
        end
    endfunction

    reg ar_waiting;
    reg aw_waiting;
    reg w_waiting;
    reg [53:0] ar_payload;
    reg [53:0] aw_payload;
    reg [9*BUS_BYTES:0] w_payload;
    wire [53:0] ar_now = {m_axi_arid, m_axi_araddr, m_axi_arlen, m_axi_arsize, m_axi_arburst};
    wire [53:0] aw_now = {m_axi_awid, m_axi_awaddr, m_axi_awlen, m_axi_awsize, m_axi_awburst};
    wire [9*BUS_BYTES:0] w_now = {m_axi_wdata, m_axi_wstrb, m_axi_wlast};

    // AXI4 lets write data come before its address (A3.3.1): each burst is judged when both have come.
    reg [7:0] promised [0:DEPTH-1];
    reg [7:0] delivered [0:DEPTH-1];
    reg [7:0] promises;
    reg [7:0] deliveries;
    reg [7:0] judged;
    reg [7:0] beat;
    reg [7:0] burst;
    reg [7:0] fault;
    reg [39:0] where;

    always @(posedge clk) begin
        if (rst) begin
            ar_waiting <= 0;
            aw_waiting <= 0;
            w_waiting <= 0;
            promises <= 0;
            deliveries <= 0;
            judged <= 0;
            beat <= 0;
            violation <= 0;
            violation_cycle <= 0;
            violation_address <= 0;
        end else begin
            fault = 0;
            where = 0;
            ar_waiting <= m_axi_arvalid && !m_axi_arready;
            aw_waiting <= m_axi_awvalid && !m_axi_awready;
            w_waiting <= m_axi_wvalid && !m_axi_wready;
            if (m_axi_arvalid && !m_axi_arready) ar_payload <= ar_now;
            if (m_axi_awvalid && !m_axi_awready) aw_payload <= aw_now;
            if (m_axi_wvalid && !m_axi_wready) w_payload <= w_now;

            if (w_waiting && !m_axi_wvalid) fault = 14;
            if (w_waiting && m_axi_wvalid && w_payload !== w_now) fault = 15;
            if (aw_waiting && !m_axi_awvalid) begin fault = 12; where = m_axi_awaddr; end
            if (aw_waiting && m_axi_awvalid && aw_payload !== aw_now) begin fault = 13; where = m_axi_awaddr; end
            if (ar_waiting && !m_axi_arvalid) begin fault = 10; where = m_axi_araddr; end
            if (ar_waiting && m_axi_arvalid && ar_payload !== ar_now) begin fault = 11; where = m_axi_araddr; end

            if (judged != promises && judged != deliveries) begin
                if (promised[judged] != delivered[judged]) fault = 8;
                judged <= judged + 1'b1;
            end
            if (m_axi_wvalid && m_axi_wready) begin
                beat <= m_axi_wlast ? 8'd0 : beat + 8'd1;
                if (beat > 15) fault = 9;
                if (m_axi_wlast) begin
                    delivered[deliveries] <= beat;
                    deliveries <= deliveries + 1'b1;
                end
            end
            if (m_axi_awvalid && m_axi_awready) begin
                promised[promises] <= m_axi_awlen;
                promises <= promises + 1'b1;
                burst = burst_fault(m_axi_awaddr, m_axi_awlen, m_axi_awsize, m_axi_awburst, base, bytes);
                if (burst != 0) begin fault = burst + 8'd32; where = m_axi_awaddr; end
            end
            if (m_axi_arvalid && m_axi_arready) begin
                burst = burst_fault(m_axi_araddr, m_axi_arlen, m_axi_arsize, m_axi_arburst, base, bytes);
                if (burst != 0) begin fault = burst + 8'd16; where = m_axi_araddr; end
            end
            if (fault != 0 && violation == 0) begin
                violation <= fault;
                violation_cycle <= cycle;
                violation_address <= where;
            end
        end
    end
endmodule
