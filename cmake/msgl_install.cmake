# What `cmake --install` puts where.
foreach(program msgl msgl-router msgl-worker)
    if(TARGET ${program})
        install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
endforeach()
