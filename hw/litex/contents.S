# The build's files and the images, as the firmware has them.
# Made by `systolith package --for litex`. It was simulated with VexRiscv and LiteDRAM, and never on a board.

    .section .rodata.systolith, "a"
    .global constants, program, images, images_end, answers
    .balign 4
constants:
    .incbin "memory.bin"
    .balign 4
program:
    .incbin "program.bin"
    .balign 4
images:
    .incbin "images.bin"
images_end:
    .balign 4
answers:
    .incbin "answers.bin"
