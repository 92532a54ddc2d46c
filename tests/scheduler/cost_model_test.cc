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

double Cost(const Work& rates, const Work& work) {
  double seconds = 0;
  for (size_t k = 0; k < kWorkKinds; ++k) seconds += rates.amounts[k] * work.amounts[k];
  return seconds;
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
    model.Observe(work, Cost(truth, work));
  }
  EXPECT_NEAR(model.Seconds(Rates(100, 0, 0)), 500, 10);
  EXPECT_NEAR(model.Seconds(Rates(0, 100, 0)), 100, 10);
}

// Steps are planned to be equally long, so that one kind's share grows as the other's shrinks.
TEST(CostModel, LearnsBothKindsOfAMixInAScore) {
  const Work truth = Rates(0.7, 1.8, 12);
  CostModel model(Rates(1, 1, 10));
  std::mt19937 bits(1);
  std::normal_distribution<double> noise(1, 0.03);
  const Work light = Rates(70, 4, 1), heavy = Rates(45, 25, 1);
  for (int step = 0; step < 20; ++step) {
    const Work& work = bits() % 2 ? light : heavy;
    model.Observe(work, Cost(truth, work) * noise(bits));
  }
  EXPECT_NEAR(model.Seconds(light) / Cost(truth, light), 1, 0.04);
  EXPECT_NEAR(model.Seconds(heavy) / Cost(truth, heavy), 1, 0.04);
}

TEST(CostModel, FollowsAMachineThatDriftsHoweverLongItWasSteady) {
  Work truth = Rates(1, 1, 10);
  CostModel model(Rates(1, 1, 10));
  const Work usual = Rates(50, 10, 1), other = Rates(10, 50, 1);
  for (int step = 0; step < 100000; ++step) model.Observe(usual, Cost(truth, usual));
  EXPECT_NEAR(model.Seconds(other), Cost(truth, other), 1);
  for (double& rate : truth.amounts) rate *= 1.2;
  for (int step = 0; step < 50; ++step) model.Observe(usual, Cost(truth, usual));
  EXPECT_NEAR(model.Seconds(usual) / Cost(truth, usual), 1, 0.02);
  for (int step = 0; step < 20; ++step) {
    const Work& work = step % 2 ? usual : other;
    model.Observe(work, Cost(truth, work));
  }
  EXPECT_NEAR(model.Seconds(other) / Cost(truth, other), 1, 0.02);
}

TEST(CostModel, OneStepThatWasHeldUpMovesItLittle) {
  CostModel model(Rates(1, 1, 1));
  const Work work = Rates(100, 0, 0);
  model.Observe(work, 1e9);  // even the first
  EXPECT_LT(model.Seconds(work), 130);
  for (int step = 0; step < 30; ++step) model.Observe(work, 100);
  model.Observe(work, 1e9);
  EXPECT_LT(model.Seconds(work), 105);
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
