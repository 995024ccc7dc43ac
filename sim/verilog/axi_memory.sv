// AXI4 memory for whole-network simulation: Python is never called in between.
//
// Reads: the first beat of a burst is valid `latency` cycles after its address handshake (at least 2), then
// one beat a cycle, and bursts whose latency has passed follow each other without a gap.
// Writes: data is taken once its address is known; the response comes `latency` cycles after the last beat.
// Written bytes can be read only from the moment of the response, the most pessimistic memory that AXI4 allows,
// so that a reader that does not wait for it gets the old bytes.  (The plain array for Icarus writes at once.)
// In order, INCR bursts of full width; axi_checker reports everything else.
// Errors: a beat read at read_error_first .. read_error_last carries the response read_error, and a burst that writes
// a beat at write_error_first .. write_error_last is answered with write_error (bytes, inclusive; 0 is OKAY).

module axi_memory #(
    parameter BUS_BYTES = 8,
    parameter MEMORY_BYTES = 4096,  // used by the plain array only
    parameter DEPTH = 64            // outstanding bursts each way
) (
    input wire clk,
    input wire rst,
    input wire [31:0] latency,
    input wire [63:0] cycle,
    input wire load,                // rising: read memory.hex (plain array only)
    input wire dump,                // rising: write memory.out and written.out (plain array only)
    input wire [1:0] read_error,
    input wire [31:0] read_error_first,
    input wire [31:0] read_error_last,
    input wire [1:0] write_error,
    input wire [31:0] write_error_first,
    input wire [31:0] write_error_last,

    input wire [0:0] m_axi_arid,
    input wire [31:0] m_axi_araddr,
    input wire [7:0] m_axi_arlen,
    input wire m_axi_arvalid,
    output wire m_axi_arready,
    output reg [0:0] m_axi_rid,
    output reg [8*BUS_BYTES-1:0] m_axi_rdata,
    output reg [1:0] m_axi_rresp,
    output reg m_axi_rlast,
    output reg m_axi_rvalid,
    input wire m_axi_rready,

    input wire [0:0] m_axi_awid,
    input wire [31:0] m_axi_awaddr,
    input wire m_axi_awvalid,
    output wire m_axi_awready,
    input wire [8*BUS_BYTES-1:0] m_axi_wdata,
    input wire [BUS_BYTES-1:0] m_axi_wstrb,
    input wire m_axi_wlast,
    input wire m_axi_wvalid,
    output wire m_axi_wready,
    output reg [0:0] m_axi_bid,
    output reg [1:0] m_axi_bresp,
    output reg m_axi_bvalid,
    input wire m_axi_bready
);
    localparam BITS = $clog2(DEPTH);

`ifdef VERILATOR
    import "DPI-C" function void systolith_read(
        input int unsigned address, input int unsigned bytes, output bit [8*BUS_BYTES-1:0] data);
    import "DPI-C" function void systolith_write(
        input longint unsigned cycle, input int unsigned address, input int unsigned bytes,
        input bit [8*BUS_BYTES-1:0] data, input longint unsigned strobe);
    import "DPI-C" function void systolith_commit(input int unsigned beats);
`else
    localparam WORDS = MEMORY_BYTES / BUS_BYTES;
    reg [8*BUS_BYTES-1:0] words [0:WORDS-1];
    reg [BUS_BYTES-1:0] written [0:WORDS-1];
    integer word;
    integer lane;
    always @(posedge load) begin
        $readmemh("memory.hex", words);
        for (word = 0; word < WORDS; word = word + 1) written[word] = 0;
    end
    always @(posedge dump) begin
        $writememh("memory.out", words);
        $writememh("written.out", written);
    end
`endif

    // Reads
    reg [31:0] read_address [0:DEPTH-1];
    reg [7:0] read_length [0:DEPTH-1];
    reg [63:0] read_due [0:DEPTH-1];
    reg [0:0] read_id [0:DEPTH-1];
    reg [BITS:0] read_put;
    reg [BITS:0] read_get;
    reg [7:0] read_beat;
    reg [8*BUS_BYTES-1:0] read_word;
    wire [BITS-1:0] read_head = read_get[BITS-1:0];
    wire [31:0] read_from = read_address[read_head] + {24'd0, read_beat} * BUS_BYTES;
    wire read_last = read_beat == read_length[read_head];

    assign m_axi_arready = (read_put - read_get) != DEPTH[BITS:0];

    always @(posedge clk) begin
        if (rst) begin
            read_put <= 0;
            read_get <= 0;
            read_beat <= 0;
            m_axi_rvalid <= 0;
            m_axi_rlast <= 0;
        end else begin
            if (m_axi_arvalid && m_axi_arready) begin
                read_address[read_put[BITS-1:0]] <= m_axi_araddr & -BUS_BYTES;
                read_length[read_put[BITS-1:0]] <= m_axi_arlen;
                read_due[read_put[BITS-1:0]] <= cycle + {32'd0, latency};
                read_id[read_put[BITS-1:0]] <= m_axi_arid;
                read_put <= read_put + 1'b1;
            end
            if (!m_axi_rvalid || m_axi_rready) begin
                m_axi_rvalid <= 0;
                m_axi_rlast <= 0;
                if (read_put != read_get && cycle + 1 >= read_due[read_head]) begin
`ifdef VERILATOR
                    systolith_read(read_from, BUS_BYTES, read_word);
`else
                    read_word = read_from < MEMORY_BYTES ? words[read_from / BUS_BYTES] : 0;
`endif
                    m_axi_rvalid <= 1;
                    m_axi_rdata <= read_word;
                    m_axi_rresp <= read_from >= read_error_first && read_from <= read_error_last ? read_error : 2'b00;
                    m_axi_rlast <= read_last;
                    m_axi_rid <= read_id[read_head];
                    read_beat <= read_last ? 8'd0 : read_beat + 8'd1;
                    if (read_last) read_get <= read_get + 1'b1;
                end
            end
        end
    end

    // Writes: addresses wait for their data, then responses wait for their latency.
    reg [31:0] write_address [0:DEPTH-1];
    reg [0:0] write_id [0:DEPTH-1];
    reg [63:0] response_due [0:DEPTH-1];
    reg [8:0] response_beats [0:DEPTH-1];
    reg [0:0] response_id [0:DEPTH-1];
    reg [1:0] response_code [0:DEPTH-1];
    reg [BITS:0] write_put;
    reg [BITS:0] write_get;
    reg [BITS:0] response_put;
    reg [BITS:0] response_get;
    reg [7:0] write_beat;
    reg write_hit;  // an earlier beat of this burst lay where writes fail
    wire [BITS-1:0] write_head = write_get[BITS-1:0];
    wire [BITS-1:0] response_head = response_get[BITS-1:0];
    wire [31:0] write_to = write_address[write_head] + {24'd0, write_beat} * BUS_BYTES;
    wire write_fails = write_hit || (write_to >= write_error_first && write_to <= write_error_last);

    assign m_axi_awready = (write_put - write_get) != DEPTH[BITS:0];
    assign m_axi_wready = write_put != write_get && (response_put - response_get) != DEPTH[BITS:0];

    always @(posedge clk) begin
        if (rst) begin
            write_put <= 0;
            write_get <= 0;
            response_put <= 0;
            response_get <= 0;
            write_beat <= 0;
            write_hit <= 0;
            m_axi_bvalid <= 0;
        end else begin
            if (m_axi_awvalid && m_axi_awready) begin
                write_address[write_put[BITS-1:0]] <= m_axi_awaddr & -BUS_BYTES;
                write_id[write_put[BITS-1:0]] <= m_axi_awid;
                write_put <= write_put + 1'b1;
            end
            if (m_axi_wvalid && m_axi_wready) begin
`ifdef VERILATOR
                systolith_write(cycle, write_to, BUS_BYTES, m_axi_wdata, 64'(m_axi_wstrb));
`else
                for (lane = 0; lane < BUS_BYTES; lane = lane + 1)
                    if (m_axi_wstrb[lane] && write_to < MEMORY_BYTES) begin
                        words[write_to / BUS_BYTES][8*lane +: 8] = m_axi_wdata[8*lane +: 8];
                        written[write_to / BUS_BYTES][lane] = 1'b1;
                    end
`endif
                write_beat <= m_axi_wlast ? 8'd0 : write_beat + 8'd1;
                write_hit <= !m_axi_wlast && write_fails;
                if (m_axi_wlast) begin
                    write_get <= write_get + 1'b1;
                    response_due[response_put[BITS-1:0]] <= cycle + {32'd0, latency};
                    response_beats[response_put[BITS-1:0]] <= {1'b0, write_beat} + 9'd1;
                    response_id[response_put[BITS-1:0]] <= write_id[write_head];
                    response_code[response_put[BITS-1:0]] <= write_fails ? write_error : 2'b00;
                    response_put <= response_put + 1'b1;
                end
            end
            if (!m_axi_bvalid || m_axi_bready) begin
                m_axi_bvalid <= 0;
                if (response_put != response_get && cycle + 1 >= response_due[response_head]) begin
`ifdef VERILATOR
                    systolith_commit({23'd0, response_beats[response_head]});
`endif
                    m_axi_bvalid <= 1;
                    m_axi_bid <= response_id[response_head];
                    m_axi_bresp <= response_code[response_head];
                    response_get <= response_get + 1'b1;
                end
            end
        end
    end
endmodule
