/* SPDX-License-Identifier: Apache-2.0 */
/* The reports of proto/report.h from and to messages; text that is not UTF-8 gets question marks.
 */
#ifndef CHOIR_PROTO_REPORT_WIRE_H
#define CHOIR_PROTO_REPORT_WIRE_H

#include "proto/client.pb-c.h"
#include "proto/engine.pb-c.h"
#include "proto/report.h"

/* From the lead's messages; what does not fit is cut. */
choir_status choir_engine_report_read(const Choir__Engine__Ready *ready,
                                      choir_engine_report *report) CHOIR_MUST_CHECK;
void choir_rank_report_read(const Choir__Engine__RankReport *message, choir_rank_report *report);
void choir_fingerprint_report_read(const Choir__Engine__Fingerprint *message,
                                   choir_fingerprint_report *report);
void choir_engine_counters_read(const Choir__Engine__EngineStatus *message,
                                choir_engine_counters *counters);
/* To and from a client's status; the message borrows the report's strings. */
void choir_rank_report_write(const choir_rank_report *report, Choir__Client__RankStatus *message);
choir_status choir_engine_report_read_status(const Choir__Client__ClusterStatus *status,
                                             choir_engine_report *report) CHOIR_MUST_CHECK;
void choir_engine_counters_write(const choir_engine_counters *counters,
                                 Choir__Client__Counters *message);
void choir_engine_counters_read_status(const Choir__Client__Counters *message,
                                       choir_engine_counters *counters);

#endif
