#include "engine/skip/skip_settings.h"

namespace skipserve {

const SkipLevel* SkipSettings::Find(const std::string& name) const {
  for (const SkipLevel& level : levels) {
    if (level.name == name) return &level;
  }
  return nullptr;
}

}  // namespace skipserve
