// The cost model finds the rates of a machine that is not what it assumed.
#include "scheduler/cost_model.h"

#include <random>

#include "gtest/gtest.h"

namespace skipserve {
namespace {

Work Rates(double matmul, double attention, double pass) {
  Work rates;
  rates[WorkKind::kMatMul] = matmul;
  rates[WorkKind::kAttention] = attention;
  rates[WorkKind::kDecodePass] = pass;
  return rates;
}

TEST(CostModel, BeginsWithThePrior) {
  const CostModel model(Rates(2, 3, 5));
  EXPECT_EQ(model.Seconds(Rates(10, 100, 1)), 20 + 300 + 5);
  EXPECT_EQ(model.Seconds(Work()), 0);
}

TEST(CostModel, FindsTheRatesOfMixedSteps) {
  const Work truth = Rates(5, 1, 9);
  CostModel model(Rates(2, 3, 5));
  std::mt19937 bits(1);
  for (int step = 0; step < 3000; ++step) {
    const Work work = Rates(bits() % 100, bits() % 100, bits() % 2);
    double seconds = 0;
    for (size_t k = 0; k < kWorkKinds; ++k) seconds += truth.amounts[k] * work.amounts[k];
    model.Observe(work, seconds);
  }
  EXPECT_NEAR(model.Seconds(Rates(100, 0, 0)), 500, 10);
  EXPECT_NEAR(model.Seconds(Rates(0, 100, 0)), 100, 10);
}

TEST(CostModel, OneStepThatWasHeldUpMovesItLittle) {
  CostModel model(Rates(1, 1, 1));
  const Work work = Rates(100, 0, 0);
  model.Observe(work, 1e9);
  EXPECT_LT(model.Seconds(work), 130);
}

TEST(CostModel, IsBoundedWhateverItSees) {
  CostModel model(Rates(1, 1, 1));
  const Work work = Rates(1, 0, 0);
  for (int i = 0; i < 1000; ++i) model.Observe(work, 1e-9);
  EXPECT_GT(model.Seconds(work), 0.01);
  const double before = model.Seconds(work);
  model.Observe(work, -3600);  // the clock was set back
  EXPECT_EQ(model.Seconds(work), before);
  for (int i = 0; i < 10000; ++i) model.Observe(work, 1e9);
  EXPECT_LT(model.Seconds(work), 100);
  model.Observe(Work(), 5);  // nothing to learn from
  EXPECT_GT(model.Seconds(work), 0);
}

}  // namespace
}  // namespace skipserve
