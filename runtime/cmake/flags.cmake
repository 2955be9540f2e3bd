# Warnings, hardening and sanitizers, as one interface target: waddle_flags.

add_library(waddle_flags INTERFACE)
target_compile_options(waddle_flags INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
  -Wwrite-strings -Wundef -Wformat=2 -Wvla -fno-strict-aliasing -fno-common)
if(WADDLE_WERROR)
  target_compile_options(waddle_flags INTERFACE -Werror)
endif()

if(WADDLE_SANITIZE OR WADDLE_FUZZ)
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(waddle_flags INTERFACE ${sanitizers})
  target_compile_definitions(waddle_flags INTERFACE WADDLE_SANITIZED)
  target_link_options(waddle_flags INTERFACE ${sanitizers})
elseif(WADDLE_TSAN)
  target_compile_options(waddle_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_compile_definitions(waddle_flags INTERFACE WADDLE_SANITIZED)
  target_link_options(waddle_flags INTERFACE -fsanitize=thread)
else()
  # tests/spec/binary_spec.lua looks for each of these in the program. 3 also checks objects whose size is known only at run time; glibc falls
  # back to 2 with a compiler that cannot, and all of it needs an optimiser.
  target_compile_options(waddle_flags INTERFACE -U_FORTIFY_SOURCE $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=3> -fstack-protector-strong
    -fstack-clash-protection)
  target_link_options(waddle_flags INTERFACE LINKER:-z,relro,-z,now,-z,noexecstack LINKER:--as-needed)
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
    # The linker marks a program for shadow stacks and branch tracking only where all of it is marked, and Debian's crt1.o and liblua5.4-cjson.a
    # are not. Shadow stacks ask nothing of code, so the mark is right all the same; branch tracking does, and is left to our own code.
    target_compile_options(waddle_flags INTERFACE -fcf-protection=full)
    target_link_options(waddle_flags INTERFACE LINKER:-z,shstk)
  elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL aarch64)
    target_compile_options(waddle_flags INTERFACE -mbranch-protection=standard)
  endif()
endif()
if(WADDLE_FUZZ)
  target_compile_options(waddle_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
