/* The page that the server answers at "/" (playground_route.h): bytes of playground.html. */
    .section .rodata
    .global sluice_playground_begin
    .global sluice_playground_end
sluice_playground_begin:
    .incbin SLUICE_PLAYGROUND
sluice_playground_end:
    .section .note.GNU-stack, "", @progbits
