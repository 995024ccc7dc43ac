# The build's files and the images, as the firmware has them.
# Made by `systolith package --for litex`. It was simulated with VexRiscv and LiteDRAM, and never on a board.

    .section .rodata.systolith, "a"
    .global constants, constants_end, program, program_end, images, images_end, answers
    .balign 4
constants:
    .incbin "memory.bin"
constants_end:
    .balign 4
program:
    .incbin "program.bin"
program_end:
    .balign 4
images:
    .incbin "images.bin"
images_end:
    .balign 4
answers:
    .incbin "answers.bin"
