#include "controller.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <numeric>
#include <sstream>
#include <stdexcept>

namespace {

Ort::SessionOptions options(int threads) {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(threads);
  options.SetInterOpNumThreads(1);
  // Within a decision threads look out for work; after it they sleep, and leave the processor to others.
  options.AddConfigEntry("session.intra_op.allow_spinning", "1");
  options.AddConfigEntry("session.force_spinning_stop", "1");
  return options;
}

std::size_t size_of(ONNXTensorElementDataType type, const std::string& name) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return 4;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return 1;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
      return 8;
    default:
      throw std::runtime_error(name + " has a type that this program does not know");
  }
}

bool begins_with(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }

// Each export has an id, in the file and in its description.
void check_description(const Ort::Session& session, const std::string& path) {
  Ort::AllocatorWithDefaultOptions allocator;
  const auto id = session.GetModelMetadata().LookupCustomMetadataMapAllocated("dream_agents.id", allocator);
  const auto slash = path.find_last_of('/');
  const std::string description_path = (slash == std::string::npos ? "" : path.substr(0, slash + 1)) + "controller.json";
  std::ifstream file(description_path);
  if (!file) throw std::runtime_error(description_path + " is missing; export writes it, so copy both");
  std::stringstream content;
  content << file.rdbuf();
  if (!id || content.str().find('"' + std::string(id.get()) + '"') == std::string::npos)
    throw std::runtime_error(description_path + " belongs to another export than " + path);
}

}  // namespace

std::size_t Controller::Array::count() const {
  return std::accumulate(shape.begin(), shape.end(), std::size_t{1}, std::multiplies<>());
}

Controller::Controller(const std::string& path, int threads, std::uint64_t seed)
    : env_(ORT_LOGGING_LEVEL_ERROR, "controller"),
      session_(env_, path.c_str(), options(threads)),
      memory_info_(Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault)),
      seed_(seed) {
  check_description(session_, path);
  Ort::AllocatorWithDefaultOptions allocator;
  for (std::size_t i = 0; i < session_.GetInputCount(); ++i)
    inputs_.push_back(make_array(session_.GetInputNameAllocated(i, allocator).get(), session_.GetInputTypeInfo(i)));
  for (std::size_t i = 0; i < session_.GetOutputCount(); ++i)
    outputs_.push_back(make_array(session_.GetOutputNameAllocated(i, allocator).get(), session_.GetOutputTypeInfo(i)));
  connect();
  reset();
}

// Find out what each input and output is for, by its name.
void Controller::connect() {
  bool observed = false;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    Array& input = inputs_[i];
    if (input.name == "observation" && input.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
      observation_ = i;
      observed = true;
    } else if (input.name == "episode_start") {
      episode_start_ = static_cast<std::ptrdiff_t>(i);
    } else if (begins_with(input.name, "noise.") && input.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
      noise_.push_back(i);
    } else if (!begins_with(input.name, "memory.")) {
      throw std::runtime_error("this program has nothing to give the input " + input.name);
    }
    input_names_.push_back(input.name.c_str());
    input_values_.push_back(view(input));
  }
  if (!observed) throw std::runtime_error("this program takes observations that are one array of float32");
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    Array& output = outputs_[i];
    if (output.name == "action") action_ = i;
    for (std::size_t j = 0; j < inputs_.size(); ++j)
      if (output.name == "new_" + inputs_[j].name) memory_.emplace_back(i, j);
    output_names_.push_back(output.name.c_str());
    output_values_.push_back(view(output));
  }
  result_.resize(outputs_[action_].count());
}

Controller::Array Controller::make_array(const std::string& name, const Ort::TypeInfo& info) const {
  const auto tensor = info.GetTensorTypeAndShapeInfo();
  Array array{name, tensor.GetShape(), tensor.GetElementType(), {}};
  array.bytes.resize(array.count() * size_of(array.type, name));
  return array;
}

Ort::Value Controller::view(Array& array) const {
  return Ort::Value::CreateTensor(memory_info_, array.bytes.data(), array.bytes.size(), array.shape.data(),
                                  array.shape.size(), array.type);
}

void Controller::reset() {
  rng_.seed(seed_);
  if (episode_start_ >= 0) inputs_[episode_start_].bytes.assign(inputs_[episode_start_].bytes.size(), 1);
}

void Controller::draw(Array& noise) {
  float* numbers = noise.floats();
  const std::size_t count = noise.count();
  if (noise.name == "noise.normal") {
    std::normal_distribution<float> normal;
    std::generate_n(numbers, count, [&] { return normal(rng_); });
  } else if (noise.name == "noise.uniform") {
    std::uniform_real_distribution<float> uniform;
    std::generate_n(numbers, count, [&] { return uniform(rng_); });
  } else if (noise.name == "noise.exponential") {
    std::exponential_distribution<float> exponential;
    std::generate_n(numbers, count, [&] { return exponential(rng_); });
  } else {
    throw std::runtime_error("this program can't draw " + noise.name);
  }
}

const std::vector<float>& Controller::act(const std::vector<float>& observation) {
  Array& input = inputs_[observation_];
  if (observation.size() != input.count())
    throw std::runtime_error("the observation has " + std::to_string(observation.size()) + " numbers; " +
                             std::to_string(input.count()) + " are expected");
  std::memcpy(input.bytes.data(), observation.data(), input.bytes.size());
  for (std::size_t i : noise_) draw(inputs_[i]);
  session_.Run(Ort::RunOptions{nullptr}, input_names_.data(), input_values_.data(), input_values_.size(),
               output_names_.data(), output_values_.data(), output_values_.size());
  for (const auto& [output, next] : memory_) inputs_[next].bytes = outputs_[output].bytes;
  if (episode_start_ >= 0) inputs_[episode_start_].bytes.assign(inputs_[episode_start_].bytes.size(), 0);
  std::memcpy(result_.data(), outputs_[action_].bytes.data(), outputs_[action_].bytes.size());
  return result_;
}
