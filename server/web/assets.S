/* The dashboard's files, inside the binary; web_assets.cmake puts them where
   the assembler looks. A .gz without a byte: there is none. */
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
        asset index_gz "index.html.gz"
        asset app_gz "app.js.gz"
        asset style_gz "style.css.gz"
        asset icon_gz "icon.svg.gz"

        .section .note.GNU-stack,"",%progbits
