// MuJoCo's walker, controlled in closed loop by a planner that dream-agents exported.
//
//   ./walker CONTROLLER.onnx WALKER.xml [--episodes N] [--steps N] [--states FILE] [--threads N] [--real-time]
//
// WALKER.xml is dm_control's (dm_control/suite/walker.xml); observation, reward and time are those of its walker-walk,
// with two frames a decision. FILE has an initial state a line, positions and velocities: an episode for each.

#include <mujoco/mujoco.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "controller.hpp"

using Clock = std::chrono::steady_clock;

namespace {

constexpr int kStepsAFrame = 10, kFramesADecision = 2;  // 0.0025 s each, and so 20 decisions a second
constexpr int kDecisions = 500;

// dm_control's walker-walk.
class Walker {
 public:
  explicit Walker(const std::string& path) {
    char error[1000] = "";
    model_.reset(mj_loadXML(path.c_str(), nullptr, error, sizeof(error)));
    if (!model_) throw std::runtime_error(path + ": " + error);
    data_.reset(mj_makeData(model_.get()));
    torso_ = mj_name2id(model_.get(), mjOBJ_BODY, "torso");
    const int sensor = mj_name2id(model_.get(), mjOBJ_SENSOR, "torso_subtreelinvel");
    if (torso_ < 0 || sensor < 0) throw std::runtime_error(path + " is not dm_control's walker.xml");
    speed_ = model_->sensor_adr[sensor];
  }

  double period() const { return model_->opt.timestep * kStepsAFrame * kFramesADecision; }

  // Begin in a state, positions and then velocities; where there is none, joints are drawn as dm_control does.
  void reset(const std::vector<double>& state, std::mt19937_64& rng) {
    mjModel* model = model_.get();
    mjData* data = data_.get();
    const int flags = model->opt.disableflags;
    model->opt.disableflags |= mjDSBL_ACTUATION;
    mj_resetData(model, data);
    mj_forward(model, data);
    if (state.empty()) {
      for (int joint = 0; joint < model->njnt; ++joint) {
        const bool limited = model->jnt_limited[joint];
        if (!limited && model->jnt_type[joint] != mjJNT_HINGE) continue;
        const double low = limited ? model->jnt_range[2 * joint] : -M_PI;
        const double high = limited ? model->jnt_range[2 * joint + 1] : M_PI;
        data->qpos[model->jnt_qposadr[joint]] = std::uniform_real_distribution<double>(low, high)(rng);
      }
    } else {
      if (state.size() != static_cast<std::size_t>(model->nq + model->nv))
        throw std::runtime_error("a state has " + std::to_string(model->nq + model->nv) + " numbers");
      std::copy(state.begin(), state.begin() + model->nq, data->qpos);
      std::copy(state.begin() + model->nq, state.end(), data->qvel);
    }
    mj_forward(model, data);
    model->opt.disableflags = flags;
  }

  // Orientations of all bodies in the plane, height of the torso, and velocities.
  void observe(std::vector<float>& observation) const {
    observation.clear();
    for (int body = 1; body < model_->nbody; ++body) {
      observation.push_back(static_cast<float>(data_->xmat[9 * body]));
      observation.push_back(static_cast<float>(data_->xmat[9 * body + 2]));
    }
    observation.push_back(static_cast<float>(data_->xpos[3 * torso_ + 2]));
    for (int i = 0; i < model_->nv; ++i) observation.push_back(static_cast<float>(data_->qvel[i]));
  }

  // Apply an action, and give the reward.
  double step(const std::vector<float>& action) {
    if (action.size() != static_cast<std::size_t>(model_->nu)) throw std::runtime_error("not an action of the walker");
    std::copy(action.begin(), action.end(), data_->ctrl);
    double reward = 0;
    for (int frame = 0; frame < kFramesADecision; ++frame) {
      mj_step2(model_.get(), data_.get());  // as dm_control: what depends on positions is there already
      for (int i = 1; i < kStepsAFrame; ++i) mj_step(model_.get(), data_.get());
      mj_step1(model_.get(), data_.get());
      reward += reward_now();
    }
    return reward;
  }

 private:
  double reward_now() const {
    const double height = data_->xpos[3 * torso_ + 2], upright = (1 + data_->xmat[9 * torso_ + 8]) / 2;
    const double speed = data_->sensordata[speed_];
    const double below = std::max(0.0, 1.2 - height) / 0.6;  // dm_control's tolerance, with a Gaussian edge
    const double standing = std::exp(std::log(0.1) * below * below);
    const double too_slow = std::max(0.0, 1.0 - speed) / 0.5 * 0.5;  // a linear edge, 0.5 at half a metre a second
    const double moving = too_slow < 1 ? 1 - too_slow : 0;
    return (3 * standing + upright) / 4 * (5 * moving + 1) / 6;
  }

  struct Free {
    void operator()(mjModel* model) const { mj_deleteModel(model); }
    void operator()(mjData* data) const { mj_deleteData(data); }
  };
  std::unique_ptr<mjModel, Free> model_;
  std::unique_ptr<mjData, Free> data_;
  int torso_ = -1, speed_ = -1;
};

struct Options {
  std::string controller, walker, states;
  int episodes = 1, steps = kDecisions, threads = 1;
  bool real_time = false;
};

Options parse(int argc, char** argv) {
  Options options;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) throw std::runtime_error(word + " needs a value");
      return argv[++i];
    };
    if (word == "--episodes") options.episodes = std::stoi(value());
    else if (word == "--steps") options.steps = std::stoi(value());
    else if (word == "--threads") options.threads = std::stoi(value());
    else if (word == "--states") options.states = value();
    else if (word == "--real-time") options.real_time = true;
    else if (word.rfind("--", 0) == 0) throw std::runtime_error("there is no option " + word);
    else files.push_back(word);
  }
  if (files.size() != 2 || options.episodes < 1 || options.steps < 1 || options.threads < 1)
    throw std::runtime_error("usage: walker CONTROLLER.onnx WALKER.xml [--episodes N] [--steps N] [--states FILE] "
                             "[--threads N] [--real-time]");
  options.controller = files[0];
  options.walker = files[1];
  return options;
}

std::vector<std::vector<double>> read_states(const Options& options) {
  if (options.states.empty()) return std::vector<std::vector<double>>(options.episodes);
  std::ifstream file(options.states);
  if (!file) throw std::runtime_error("can't read " + options.states);
  std::vector<std::vector<double>> states;
  for (std::string line; std::getline(file, line);) {
    std::istringstream numbers(line);
    states.emplace_back();
    for (double number; numbers >> number;) states.back().push_back(number);
  }
  return states;
}

void print_histogram(const char* name, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) { return times[static_cast<std::size_t>(share * (times.size() - 1))]; };
  std::printf("%s: 50%% %.2f ms, 99%% %.2f ms, largest %.2f ms\n", name, at(0.5), at(0.99), times.back());
  double low = 0, high = 0.25;
  for (std::size_t i = 0; i < times.size(); low = high, high *= 1.5) {
    const std::size_t begin = i;
    while (i < times.size() && times[i] < high) ++i;
    if (i == begin) continue;
    const int width = static_cast<int>(std::ceil(50.0 * (i - begin) / times.size()));
    std::printf("%8.2f to %8.2f ms %6zu %s\n", low, high, i - begin, std::string(width, '#').c_str());
  }
}

double milliseconds(Clock::duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

void run(const Options& options) {
  Controller controller(options.controller, options.threads);
  Walker walker(options.walker);
  std::mt19937_64 rng(0);
  std::vector<float> observation;
  std::vector<double> latencies, lateness;
  const auto period = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(walker.period()));
  const auto states = read_states(options);
  for (std::size_t episode = 0; episode < states.size(); ++episode) {
    walker.reset(states[episode], rng);
    controller.reset();
    double total = 0;
    auto due = Clock::now();
    for (int step = 0; step < options.steps; ++step, due += period) {
      if (options.real_time) {
        std::this_thread::sleep_until(due);
        lateness.push_back(std::max(0.0, milliseconds(Clock::now() - due)));
      }
      walker.observe(observation);
      const auto began = Clock::now();
      const std::vector<float>& action = controller.act(observation);
      latencies.push_back(milliseconds(Clock::now() - began));
      total += walker.step(action);
    }
    std::printf("episode %zu: return %.3f\n", episode, total);
  }
  print_histogram("decisions", latencies);
  if (options.real_time) print_histogram("began late by", lateness);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
