// The HTML pages, made into constants by pages.cmake. Each is one file that loads nothing.
#pragma once

namespace skipserve {

extern const char kPage[];         // page.html, for GET /
extern const char kInspectPage[];  // inspect_page.html; "{{data}}" stands where its data goes

}  // namespace skipserve
