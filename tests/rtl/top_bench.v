// A bitstream's top behind the ports that board_host.cpp drives: rst presses the button.  It ends at once if an LED or
// the reset is not what it should be.  LOW: buttons and LEDs are active at 0.
module top_bench #(parameter LOW = 0) (
  input clk, input rst, input rx, output tx, output busy, output interrupt
);
  wire low = LOW != 0;
  wire led_busy, led_interrupt, led_heartbeat;
  systolith_top dut(
    .clock(clk), .button(rst ^ low), .rx(rx), .tx(tx),
    .busy(led_busy), .interrupt(led_interrupt), .heartbeat(led_heartbeat)
`ifdef HELD
    , .esp32_gpio0(held)
`endif
  );
`ifdef HELD
  wire held;
`else
  wire held = 1;
`endif
  assign busy = led_busy ^ low;
  assign interrupt = led_interrupt ^ low;
  reg ready = 0;
  reg [9:0] count = 0;
  always @(posedge clk) begin
    count <= count + !ready;
    if (count == 200) ready <= 1;
    if (busy != dut.board.busy || interrupt != dut.board.interrupt || !held) $fatal(1, "a pin is not what it shows");
    if ((led_heartbeat ^ low) != (dut.beats >> ($bits(dut.beats) - 1))) $fatal(1, "the heart stands still");
    if ((rst || !dut.locked) && !dut.board.rst) $fatal(1, "no reset");
    if (ready && !rst && dut.board.rst) $fatal(1, "the reset does not end");
  end
endmodule
