/* The status page's files, inside the binary. */
        .section .rodata
        .macro asset name file
        .global steadyrun_asset_\name\()_begin
        .global steadyrun_asset_\name\()_end
        .balign 16
steadyrun_asset_\name\()_begin:
        .incbin "\file"
steadyrun_asset_\name\()_end:
        .byte 0
        .endm

        asset index "index.html"
        asset app "app.js"
        asset style "style.css"
        asset icon "icon.svg"

        .section .note.GNU-stack,"",%progbits
