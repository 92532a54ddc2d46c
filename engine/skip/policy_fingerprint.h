// Names a policy by its content, so that figures, reports and logs of one policy can be put
// together wherever they were made. Pure; any thread.
#pragma once

#include <string>

#include "engine/skip/policy.h"

namespace skipserve {

// 16 hex digits of the SHA-256 of the policy's JSON as PolicyToJson gives it: the same for equal
// policies, whoever wrote them and however. Empty where the crypto library refuses to work.
std::string PolicyFingerprint(const SkipPolicy& policy);

}  // namespace skipserve
