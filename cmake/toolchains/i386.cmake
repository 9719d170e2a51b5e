# SPDX-License-Identifier: MIT
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i686)
set(CMAKE_C_COMPILER i686-linux-gnu-gcc)
set(CMAKE_FIND_ROOT_PATH /usr/i686-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
# The kernel itself runs these programs. They need to be told where their C library is, because it
# belongs to Debian's cross compiler and not to the machine.
set(i386_libraries /usr/i686-linux-gnu/lib)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--dynamic-linker=${i386_libraries}/ld-linux.so.2 -Wl,-rpath,${i386_libraries}")
# Without this, the compiler notes at every use that the layout of 64-bit atomics has changed in the
# past.
set(CMAKE_C_FLAGS_INIT -Wno-psabi)
