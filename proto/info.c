#include "proto/info.h"

#include "proto/json_writer.h"

/* A cross-encoder is told by its label, a bi-encoder by its pooling. */
static void put_model_type(rr_json_writer *writer, const rr_server_info *info) {
  if (info->label != NULL) {
    rr_json_put_raw(writer, "{\"reranker\":{\"id2label\":{\"0\":");
    rr_json_put_string(writer, info->label);
    rr_json_put_raw(writer, "},\"label2id\":{");
    rr_json_put_string(writer, info->label);
    rr_json_put_raw(writer, ":0}}}");
  } else {
    rr_json_put_raw(writer, "{\"embedding\":{\"pooling\":");
    rr_json_put_string(writer, info->pooling == NULL ? "none" : info->pooling);
    rr_json_put_raw(writer, "}}");
  }
}

static void put_count(rr_json_writer *writer, const char *name, size_t value) {
  rr_json_put_raw(writer, name);
  rr_json_put_unsigned(writer, value);
}

char *rr_info_encode(const rr_server_info *info, size_t *ret_size) {
  rr_json_writer writer;
  rr_json_writer_init(&writer, 0);
  rr_json_put_raw(&writer, "{\"model_id\":");
  rr_json_put_string(&writer, info->model_id);
  rr_json_put_raw(&writer, ",\"model_sha\":");
  if (info->model_sha == NULL) {
    rr_json_put_raw(&writer, "null");
  } else {
    rr_json_put_string(&writer, info->model_sha);
  }
  rr_json_put_raw(&writer, ",\"model_dtype\":");
  rr_json_put_string(&writer, info->model_dtype);
  rr_json_put_raw(&writer, ",\"model_dtype_note\":");
  rr_json_put_string(&writer, info->dtype_note);
  rr_json_put_raw(&writer, ",\"served_model_name\":");
  rr_json_put_string(&writer, info->served_model_name);
  rr_json_put_raw(&writer, ",\"model_type\":");
  put_model_type(&writer, info);
  rr_json_put_raw(&writer, ",\"scoring\":");
  rr_json_put_string(&writer, info->scoring);
  if (info->split_layers > 0) {
    put_count(&writer, ",\"split_layers\":", info->split_layers);
  }
  rr_json_put_raw(&writer, info->calibrated ? ",\"calibrated\":true" : ",\"calibrated\":false");
  put_count(&writer, ",\"max_concurrent_requests\":", info->max_concurrent_requests);
  put_count(&writer, ",\"max_input_length\":", info->max_input_length);
  put_count(&writer, ",\"max_batch_tokens\":", info->max_batch_tokens);
  rr_json_put_raw(&writer, ",\"max_batch_requests\":null");
  put_count(&writer, ",\"max_client_batch_size\":", info->max_client_batch_size);
  rr_json_put_raw(&writer, ",\"auto_truncate\":");
  rr_json_put_raw(&writer, info->auto_truncate ? "true" : "false");
  put_count(&writer, ",\"tokenization_workers\":", info->tokenization_workers);
  put_count(&writer, ",\"cache_bytes\":", info->cache_bytes);
  if (info->document_cache) {
    put_count(&writer, ",\"document_cache_bytes\":", info->document_cache_bytes);
  } else {
    rr_json_put_raw(&writer, ",\"document_cache_bytes\":null");
  }
  rr_json_put_raw(&writer, ",\"version\":");
  rr_json_put_string(&writer, info->version);
  rr_json_put_raw(&writer, ",\"sha\":null,\"docker_label\":null}");
  return rr_json_writer_finish(&writer, ret_size);
}

char *rr_models_encode(const rr_server_info *info, int64_t created, size_t *ret_size) {
  rr_json_writer writer;
  rr_json_writer_init(&writer, 0);
  rr_json_put_raw(&writer, "{\"object\":\"list\",\"data\":[{\"id\":");
  rr_json_put_string(&writer, info->served_model_name);
  put_count(&writer, ",\"object\":\"model\",\"created\":", (size_t)created);
  rr_json_put_raw(&writer, ",\"owned_by\":\"rerankd\",\"root\":");
  rr_json_put_string(&writer, info->model_id);
  put_count(&writer, ",\"max_model_len\":", info->max_input_length);
  rr_json_put_raw(&writer, ",\"capabilities\":[\"rerank\"]}]}");
  return rr_json_writer_finish(&writer, ret_size);
}
