// A controller that dream-agents exported as an ONNX file.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

// Decides for one environment whose observation is one array of float32.
//
//   Controller controller("walker/controller.onnx");
//   controller.reset();                                     // an episode begins
//   const std::vector<float>& action = controller.act(observation);
class Controller {
 public:
  // Throws std::runtime_error if controller.json, in the file's folder, is another export's, and for inputs that this
  // class can't fill.
  explicit Controller(const std::string& path, int threads = 1, std::uint64_t seed = 0);

  // Begin an episode: what was planned and remembered is ignored, and the same noise is drawn as after the last reset.
  void reset();

  // The action, in the environment's units and inside its bounds.
  const std::vector<float>& act(const std::vector<float>& observation);

 private:
  // An input or output: its bytes, which ONNX Runtime reads and writes in place.
  struct Array {
    std::string name;
    std::vector<std::int64_t> shape;
    ONNXTensorElementDataType type;
    std::vector<std::uint8_t> bytes;
    std::size_t count() const;
    float* floats() { return reinterpret_cast<float*>(bytes.data()); }
  };

  Array make_array(const std::string& name, const Ort::TypeInfo& info) const;
  Ort::Value view(Array& array) const;
  void draw(Array& noise);
  void connect();

  Ort::Env env_;
  Ort::Session session_;
  Ort::MemoryInfo memory_info_;
  std::vector<Array> inputs_, outputs_;
  std::vector<const char*> input_names_, output_names_;
  std::vector<Ort::Value> input_values_, output_values_;
  std::vector<std::pair<std::size_t, std::size_t>> memory_;  // outputs, and the inputs that they are next time
  std::vector<std::size_t> noise_;
  std::size_t observation_ = 0, action_ = 0;
  std::ptrdiff_t episode_start_ = -1;
  std::uint64_t seed_;
  std::mt19937_64 rng_;
  std::vector<float> result_;
};
