# Run at build time: the dashboard's files into OUT. In mode AUTO a build that
# cannot get its npm packages (no network) still serves the plain page.
file(MAKE_DIRECTORY ${OUT})
set(ok TRUE)
if(NOT EXISTS ${WEB}/node_modules/.package-lock.json
   OR ${WEB}/package-lock.json IS_NEWER_THAN
      ${WEB}/node_modules/.package-lock.json)
  execute_process(
    COMMAND ${NPM} ci --ignore-scripts
    WORKING_DIRECTORY ${WEB}
    RESULT_VARIABLE failed
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  if(failed)
    set(ok FALSE)
  endif()
endif()
if(ok)
  execute_process(
    COMMAND ${NODE} build.mjs ${OUT}
    WORKING_DIRECTORY ${WEB}
    RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "dashboards/web: build.mjs failed")
  endif()
  return()
endif()
if(NOT MODE STREQUAL "AUTO")
  message(FATAL_ERROR "dashboards/web: npm ci failed:\n${output}")
endif()
message("dashboards/web: npm ci failed, so the plain status page is served; "
        "build again with a network, or touch package-lock.json:\n${output}")
foreach(file index.html app.js style.css icon.svg)
  file(COPY_FILE ${PLAIN}/${file} ${OUT}/${file})
  file(WRITE ${OUT}/${file}.gz "")
endforeach()
