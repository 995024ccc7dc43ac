/* From reset to main, and the files that are part of the program, which are looked for as headers are: the build's, and
 * images.f32, float32, images x channels x rows x columns. */
    .section .start, "ax"
    .globl _start, halt
_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, stack_top
    la t0, bss_begin
    la t1, bss_end
1:  bgeu t0, t1, 2f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 1b
2:  call main
halt:
    wfi
    j halt

    .section .rodata
    .globl constants_begin, constants_end, program_begin, program_end, images_begin, images_end
    .balign 8
constants_begin:
    .incbin "memory.bin"
constants_end:
    .balign 8
program_begin:
    .incbin "program.bin"
program_end:
    .balign 8
images_begin:
    .incbin "images.f32"
images_end:
