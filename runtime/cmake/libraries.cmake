# The libraries waddle stands on, as one interface target: waddle_libraries. Sets ARGPARSE_LUA.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(LUA REQUIRED IMPORTED_TARGET lua5.4)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(CARES REQUIRED IMPORTED_TARGET libcares)
pkg_check_modules(SSL REQUIRED IMPORTED_TARGET openssl)
pkg_check_modules(LDNS REQUIRED IMPORTED_TARGET ldns)
pkg_check_modules(MHD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(EDIT REQUIRED IMPORTED_TARGET libedit)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.38)

# lua-cjson goes into the program: as a shared library it would be one more thing to ship for 35 KB.
find_library(CJSON_A liblua5.4-cjson.a REQUIRED)
find_file(ARGPARSE_LUA argparse.lua PATHS /usr/share/lua/5.4 NO_DEFAULT_PATH REQUIRED)

# Order matters: a libcurl unpacked by ./dev comes before the system's.
set(deps_lib ${WADDLE_DEPS}/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE})
add_library(waddle_curl INTERFACE)
if(EXISTS ${deps_lib}/libcurl-gnutls.so AND NOT WADDLE_SYSTEM_CURL)
  message(STATUS "libcurl: ${deps_lib}")
  target_include_directories(waddle_curl SYSTEM INTERFACE ${WADDLE_DEPS}/usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
  target_link_libraries(waddle_curl INTERFACE ${deps_lib}/libcurl-gnutls.so)
  # DT_RPATH, unlike DT_RUNPATH, also finds the libraries that libcurl needs in its turn. Inside the build folder it is relative to the
  # program, so that the folder may move.
  set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)
  target_link_options(waddle_curl INTERFACE "LINKER:--disable-new-dtags,-rpath-link,${deps_lib}")
else()
  pkg_check_modules(CURL IMPORTED_TARGET libcurl>=8.10)
  if(NOT CURL_FOUND)
    message(FATAL_ERROR "no libcurl of version 8.10 or later: run ./dev deps first, without WADDLE_CURL=system on Debian 12")
  endif()
  target_link_libraries(waddle_curl INTERFACE PkgConfig::CURL)
endif()

add_library(waddle_libraries INTERFACE)
target_link_libraries(waddle_libraries INTERFACE waddle_curl ${CJSON_A} PkgConfig::LUA PkgConfig::UV PkgConfig::CARES PkgConfig::SSL
  PkgConfig::LDNS PkgConfig::MHD PkgConfig::EDIT PkgConfig::SECCOMP PkgConfig::SQLITE Threads::Threads m)
