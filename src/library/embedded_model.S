/* The model that the program carries: bytes of models/sluice-jamba.gguf (loading.h). */
    .section .rodata
    .global sluice_embedded_model_begin
    .global sluice_embedded_model_end
    .balign 64
sluice_embedded_model_begin:
    .incbin SLUICE_EMBEDDED_MODEL
sluice_embedded_model_end:
    .section .note.GNU-stack, "", @progbits
