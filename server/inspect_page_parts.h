// The fixed parts of the inspection page: its style, its skeleton, its script. The data comes from
// inspect_page.cc. Constants.
#pragma once

namespace skipserve {

extern const char kInspectStyle[];
extern const char kInspectBody[];
extern const char kInspectScript[];

}  // namespace skipserve
