// A stand-in with the accelerator's ports: it copies `beats` bus words from source to target, and breaks rules
// when its program says so.  What the benches and the comparison are tested with.
//
// Program: four 32-bit words: source, target, beats, faults (bit numbers below; bits 31:16 the beat concerned).

module systolith #(
    parameter BUS_BYTES = 8
) (
    input wire clk,
    input wire rst,
    input wire [7:0] s_axil_awaddr,
    input wire s_axil_awvalid,
    output wire s_axil_awready,
    input wire [31:0] s_axil_wdata,
    input wire [3:0] s_axil_wstrb,
    input wire s_axil_wvalid,
    output wire s_axil_wready,
    output wire [1:0] s_axil_bresp,
    output reg s_axil_bvalid,
    input wire s_axil_bready,
    input wire [7:0] s_axil_araddr,
    input wire s_axil_arvalid,
    output wire s_axil_arready,
    output reg [31:0] s_axil_rdata,
    output wire [1:0] s_axil_rresp,
    output reg s_axil_rvalid,
    input wire s_axil_rready,
    output wire [0:0] m_axi_arid,
    output reg [39:0] m_axi_araddr,
    output reg [7:0] m_axi_arlen,
    output wire [2:0] m_axi_arsize,
    output wire [1:0] m_axi_arburst,
    output wire [0:0] m_axi_arlock,
    output wire [3:0] m_axi_arcache,
    output wire [2:0] m_axi_arprot,
    output wire [3:0] m_axi_arqos,
    output reg m_axi_arvalid,
    input wire m_axi_arready,
    input wire [0:0] m_axi_rid,
    input wire [8*BUS_BYTES-1:0] m_axi_rdata,
    input wire [1:0] m_axi_rresp,
    input wire m_axi_rlast,
    input wire m_axi_rvalid,
    output wire m_axi_rready,
    output wire [0:0] m_axi_awid,
    output reg [39:0] m_axi_awaddr,
    output reg [7:0] m_axi_awlen,
    output wire [2:0] m_axi_awsize,
    output wire [1:0] m_axi_awburst,
    output wire [0:0] m_axi_awlock,
    output wire [3:0] m_axi_awcache,
    output wire [2:0] m_axi_awprot,
    output wire [3:0] m_axi_awqos,
    output reg m_axi_awvalid,
    input wire m_axi_awready,
    output reg [8*BUS_BYTES-1:0] m_axi_wdata,
    output reg [BUS_BYTES-1:0] m_axi_wstrb,
    output reg m_axi_wlast,
    output reg m_axi_wvalid,
    input wire m_axi_wready,
    input wire [0:0] m_axi_bid,
    input wire [1:0] m_axi_bresp,
    input wire m_axi_bvalid,
    output wire m_axi_bready,
    output wire interrupt,
    output reg monitor_valid,
    output reg [15:0] monitor_address,
    output reg [6:0] monitor_count,
    output reg [8*BUS_BYTES-1:0] monitor_data
);
    localparam HANG = 0, ERROR = 1, CORRUPT = 2, CROSS = 3, DROP = 4, LAST = 5, OUTSIDE = 6, CHANGE = 7,
               UNWRITTEN = 8, SILENT = 9, LONG = 10;
    localparam SIZE = $clog2(BUS_BYTES);
    localparam FETCH = BUS_BYTES >= 16 ? 1 : 16 / BUS_BYTES;
    localparam DEPTH = 64;

    // Registers
    reg busy, done, error, enable;
    reg [31:0] program_address, base;
    reg [63:0] cycles;
    reg [31:0] stalls;
    reg start, clear;
    wire write_now = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
    wire read_now = s_axil_arvalid && !s_axil_rvalid;
    reg [2:0] waits;
    assign s_axil_awready = write_now;
    assign s_axil_wready = write_now;
    assign s_axil_arready = read_now;
    assign s_axil_bresp = 0;
    assign s_axil_rresp = 0;
    assign interrupt = enable && (done || error);

    always @(posedge clk) begin
        start <= 0;
        clear <= 0;
        if (rst) begin
            s_axil_bvalid <= 0;
            s_axil_rvalid <= 0;
            enable <= 0;
        end else begin
            if (s_axil_bready) s_axil_bvalid <= 0;
            if (s_axil_rready) s_axil_rvalid <= 0;
            if (write_now) begin
                s_axil_bvalid <= 1;
                case (s_axil_awaddr)
                    8'h0c: begin start <= s_axil_wdata[0]; clear <= s_axil_wdata[1]; end
                    8'h14: program_address <= s_axil_wdata;
                    8'h18: base <= s_axil_wdata;
                    8'h1c: enable <= s_axil_wdata[0];
                    default: ;
                endcase
            end
            if (read_now) begin
                s_axil_rvalid <= 1;
                case (s_axil_araddr)
                    8'h00: s_axil_rdata <= 32'h59534c54;
                    8'h10: s_axil_rdata <= {16'd0, error ? 8'd3 : 8'd0, 5'd0, error, done, busy};
                    8'h20: s_axil_rdata <= cycles[31:0];
                    8'h24: s_axil_rdata <= cycles[63:32];
                    8'h28: s_axil_rdata <= stalls;
                    8'h2c: s_axil_rdata <= {29'd0, waits};
                    default: s_axil_rdata <= 0;
                endcase
            end
        end
    end

    // Copying
    reg fetching;
    reg [127:0] fetched;
    reg [2:0] fetch_beat;
    wire [31:0] source = fetched[31:0];
    wire [31:0] target = fetched[63:32];
    wire [31:0] beats = fetched[95:64];
    wire [31:0] faults = fetched[127:96];
    reg [8*BUS_BYTES-1:0] fifo [0:DEPTH-1];
    reg [31:0] asked, got, addressed, sent, answered, bursts;
    reg running;
    reg dropped;

    function [31:0] burst(input [31:0] address, input [31:0] left, input crossing, input lengthy);
        reg [31:0] room;
        begin
            room = (4096 - (address & 4095)) / BUS_BYTES;
            burst = lengthy ? 32'd17 : 32'd16;
            if (burst > left) burst = left;
            if (burst > room && !crossing) burst = room;
        end
    endfunction
    wire [31:0] read_at = base + source + asked * BUS_BYTES;
    wire [31:0] read_burst = burst(read_at, beats - asked, faults[CROSS], faults[LONG]);
    wire [31:0] write_at = base + target + addressed * BUS_BYTES;
    wire [31:0] write_burst = burst(write_at, beats - addressed, 1'b0, 1'b0);
    reg [31:0] burst_end;
    wire corrupt = faults[CORRUPT] && sent == faults[31:16];

    assign m_axi_arid = 0;
    assign m_axi_arsize = SIZE;
    assign m_axi_arburst = 1;
    assign m_axi_arlock = 0;
    assign m_axi_arcache = 4'b0011;
    assign m_axi_arprot = 3'b000;
    assign m_axi_arqos = 0;
    assign m_axi_awid = 0;
    assign m_axi_awsize = SIZE;
    assign m_axi_awburst = 1;
    assign m_axi_awlock = 0;
    assign m_axi_awcache = 4'b0011;
    assign m_axi_awprot = 3'b000;
    assign m_axi_awqos = 0;
    assign m_axi_rready = 1;
    assign m_axi_bready = 1;

    always @(posedge clk) begin
        monitor_valid <= 0;
        waits <= {running && faults[HANG], fetching, running && got == sent};
        if (busy) cycles <= cycles + 1;
        if (running && got == sent) stalls <= stalls + 1;
        if (clear) begin done <= 0; error <= 0; end
        if (m_axi_arready) m_axi_arvalid <= 0;
        if (m_axi_awready) m_axi_awvalid <= 0;
        if (m_axi_wready) m_axi_wvalid <= 0;
        if (start) begin
            busy <= 1;
            fetching <= 1;
            fetch_beat <= 0;
            cycles <= 0;
            stalls <= 0;
            {asked, got, addressed, sent, answered, bursts, burst_end} <= 0;
            dropped <= 0;
            m_axi_arvalid <= 1;
            m_axi_araddr <= base + program_address;
            m_axi_arlen <= FETCH - 1;
        end
        if (fetching && m_axi_rvalid) begin
            if (BUS_BYTES >= 16) fetched <= m_axi_rdata;
            else fetched[8*BUS_BYTES*fetch_beat +: 8*BUS_BYTES] <= m_axi_rdata;
            fetch_beat <= fetch_beat + 1;
            if (m_axi_rlast) begin fetching <= 0; running <= 1; end
        end
        if (running && faults[ERROR]) begin running <= 0; busy <= 0; error <= 1; end
        else if (running) begin
            if (!m_axi_arvalid && asked != beats && asked - sent <= DEPTH - 17) begin
                m_axi_arvalid <= 1;
                m_axi_araddr <= faults[OUTSIDE] ? 32'h7ffff000 : read_at;
                m_axi_arlen <= read_burst - 1;
                asked <= asked + read_burst;
            end
            if (m_axi_rvalid) begin fifo[got % DEPTH] <= m_axi_rdata; got <= got + 1; end
            if (!m_axi_awvalid && addressed != beats && addressed == burst_end && sent == burst_end
                && !faults[HANG] && (!m_axi_wvalid || m_axi_wready)) begin
                m_axi_awvalid <= 1;
                m_axi_awaddr <= write_at;
                m_axi_awlen <= write_burst - 1;
                addressed <= addressed + write_burst;
                burst_end <= burst_end + write_burst;
                bursts <= bursts + 1;
            end
            if (faults[DROP] && m_axi_awvalid && !m_axi_awready && !dropped) begin
                m_axi_awvalid <= 0;
                dropped <= 1;
            end
            if (sent != burst_end && got != sent && (!m_axi_wvalid || m_axi_wready)) begin
                m_axi_wvalid <= 1;
                m_axi_wdata <= fifo[sent % DEPTH] ^ (corrupt ? 1 << 16 : 0);
                m_axi_wstrb <= faults[UNWRITTEN] && sent == faults[31:16] ? 2 : ~0;
                m_axi_wlast <= sent + 1 == burst_end || faults[LAST];
                sent <= sent + 1;
                monitor_valid <= !(faults[SILENT] && sent == faults[31:16]);
                monitor_address <= sent * BUS_BYTES;
                monitor_count <= BUS_BYTES;
                monitor_data <= fifo[sent % DEPTH] ^ (corrupt ? 1 << 16 : 0);
            end else if (faults[CHANGE] && m_axi_wvalid && !m_axi_wready) m_axi_wdata <= ~m_axi_wdata;
            if (m_axi_bvalid) answered <= answered + 1;
            if (addressed == beats && sent == beats && answered == bursts && !m_axi_wvalid) begin
                running <= 0;
                busy <= 0;
                done <= 1;
            end
        end
        if (rst) begin
            {busy, done, error, fetching, running, m_axi_arvalid, m_axi_awvalid, m_axi_wvalid} <= 0;
            {cycles, stalls} <= 0;
        end
    end
endmodule
