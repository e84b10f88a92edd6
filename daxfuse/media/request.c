/* SPDX-License-Identifier: BSD-3-Clause */
/* Telling the asker of a request that it was executed. */
#include "request.h"

#include <stddef.h>

void tx_executed(const struct tx_request *request, int64_t result)
{
	if (request && request->unique && request->executed)
		request->executed(request, result);
}
