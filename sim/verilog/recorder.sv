// Records every vector that the accelerator writes into its activation memory, keeps the time, and notices
// when nothing happens any more.  No call leaves the simulator in a cycle without an event.

module recorder #(
    parameter BYTES = 8,
    parameter COUNT_BITS = 8
) (
    input wire clk,
    input wire rst,
    input wire watch,               // the accelerator should be at work
    input wire [63:0] patience,     // cycles without bus or monitor activity that mean a hang
    input wire [63:0] limit,        // cycles at work that mean a hang
    input wire [63:0] trace_start,  // cycle at which the waveform begins (tracing builds)
    input wire [63:0] trace_stop,   // cycle at which `finished` rises; 0 never
    input wire bus_active,
    input wire monitor_valid,
    input wire [31:0] monitor_address,
    input wire [COUNT_BITS-1:0] monitor_count,
    input wire [8*BYTES-1:0] monitor_data,
    output reg [63:0] cycle,        // since the end of reset
    output reg [1:0] stuck,         // bit 0: idle for too long, bit 1: at work for too long
    output reg finished
);
`ifdef VERILATOR
    import "DPI-C" function void systolith_event(
        input longint unsigned cycle, input int unsigned address, input int unsigned count,
        input int unsigned bytes, input bit [8*BYTES-1:0] data);
`else
    integer file;
    initial file = $fopen("events.txt", "w");
`endif
    reg [63:0] idle;
    reg [63:0] busy;

    always @(posedge clk) begin
        if (rst) begin
            cycle <= 0;
            idle <= 0;
            busy <= 0;
            stuck <= 0;
            finished <= 0;
        end else begin
            cycle <= cycle + 1;
            if (!watch) begin
                idle <= 0;
                busy <= 0;
                stuck <= 0;
            end else begin
                idle <= bus_active || monitor_valid ? 64'd0 : idle + 1;
                busy <= busy + 1;
                stuck <= {busy >= limit, idle >= patience};
            end
            if (monitor_valid) begin
`ifdef VERILATOR
                systolith_event(cycle, monitor_address, 32'(monitor_count), BYTES, monitor_data);
`else
                $fdisplay(file, "%h %h %h %h", cycle, monitor_address, monitor_count, monitor_data);
                $fflush(file);
`endif
            end
            finished <= trace_stop != 0 && cycle >= trace_stop;
        end
    end

`ifdef SYSTOLITH_TRACE
    always @(posedge clk)
        if (!rst && trace_stop != 0 && cycle == trace_start) begin
`ifdef VERILATOR
            $dumpfile("wave.vcd");
`else
            $dumpfile("wave.fst");
`endif
            $dumpvars;
        end
`endif
endmodule
