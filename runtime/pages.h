// Memory that programs and libraries take as files.
#pragma once

// Lets go of the pages of code and constants that are in memory. What is used again comes back from the page cache, so what this
// saves is what only a start needs: relocations, symbols, set-up. Costs some hundred microseconds; breakpoints of a debugger
// are forgotten, since they are changes to such pages.
void wd_pages_release(void);
