#include "cli/proto_json.h"

#include <google/protobuf/descriptor.h>

#include <cmath>
#include <string>

namespace steadyrun::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Json = nlohmann::ordered_json;

Json Number(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

// The value of a singular field, or of element `i` of a repeated one.
Json FieldValue(const Message& message, const FieldDescriptor& field, int i) {
  const Reflection& r = *message.GetReflection();
  const bool repeated = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return repeated ? r.GetRepeatedInt32(message, &field, i)
                      : r.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return repeated ? r.GetRepeatedInt64(message, &field, i)
                      : r.GetInt64(message, &field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return repeated ? r.GetRepeatedUInt32(message, &field, i)
                      : r.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return repeated ? r.GetRepeatedUInt64(message, &field, i)
                      : r.GetUInt64(message, &field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Number(repeated ? r.GetRepeatedDouble(message, &field, i)
                             : r.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return Number(repeated ? r.GetRepeatedFloat(message, &field, i)
                             : r.GetFloat(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return repeated ? r.GetRepeatedBool(message, &field, i)
                      : r.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return std::string((repeated ? r.GetRepeatedEnum(message, &field, i)
                                   : r.GetEnum(message, &field))
                             ->name());
    case FieldDescriptor::CPPTYPE_STRING:
      return repeated ? r.GetRepeatedString(message, &field, i)
                      : r.GetString(message, &field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(repeated ? r.GetRepeatedMessage(message, &field, i)
                             : r.GetMessage(message, &field));
  }
  return {};
}

std::string KeyText(const Json& key) {
  return key.is_string() ? key.get<std::string>() : key.dump();
}

Json MapValue(const Message& message, const FieldDescriptor& field) {
  const Reflection& r = *message.GetReflection();
  const auto& entry = *field.message_type();
  Json object = Json::object();
  for (int i = 0; i < r.FieldSize(message, &field); ++i) {
    const Message& pair = r.GetRepeatedMessage(message, &field, i);
    object[KeyText(FieldValue(pair, *entry.map_key(), 0))] =
        FieldValue(pair, *entry.map_value(), 0);
  }
  return object;
}

}  // namespace

Json ToJson(const Message& message) {
  const auto& descriptor = *message.GetDescriptor();
  const Reflection& r = *message.GetReflection();
  Json object = Json::object();
  for (int f = 0; f < descriptor.field_count(); ++f) {
    const FieldDescriptor& field = *descriptor.field(f);
    const std::string& name = field.name();
    if (field.is_map()) {
      object[name] = MapValue(message, field);
    } else if (field.is_repeated()) {
      Json list = Json::array();
      for (int i = 0; i < r.FieldSize(message, &field); ++i) {
        list.push_back(FieldValue(message, field, i));
      }
      object[name] = std::move(list);
    } else if (field.real_containing_oneof() == nullptr ||
               r.HasField(message, &field)) {
      object[name] = FieldValue(message, field, 0);
    }
  }
  return object;
}

}  // namespace steadyrun::cli
