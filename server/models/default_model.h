/* The model that is served where none is named: the one that comes with the server. */
#ifndef RR_SERVER_MODELS_DEFAULT_MODEL_H
#define RR_SERVER_MODELS_DEFAULT_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#define DEFAULT_MODEL_NAME "rerankd-minilm-en-v1"

enum { DEFAULT_MODEL_PATH_MAX = 4096 };

/* Its directory beside `program`, an absolute path: ../share/rerankd/models/NAME, as it is
 * installed, or ../../models/NAME, as in a build directory within the sources. False where neither
 * has a config.json, with the former in ret_path. Reads the file system; any thread. */
bool default_model_beside(const char *program, char ret_path[DEFAULT_MODEL_PATH_MAX]);

/* The same beside this program. */
bool default_model_find(char ret_path[DEFAULT_MODEL_PATH_MAX]);

#endif
