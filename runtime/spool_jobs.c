// Jobs for the spool's writer, and lists of them. See spool.h.
#include <stdlib.h>

#include "runtime/spool_inner.h"

void wd_spool_jobs_add(struct wd_spool_jobs *q, struct wd_spool_job *job) {
  job->next = NULL;
  *(q->first ? q->end : &q->first) = job;
  q->end = &job->next;
}

struct wd_spool_job *wd_spool_jobs_take(struct wd_spool_jobs *q) {
  struct wd_spool_job *job = q->first;
  if (job) q->first = job->next;
  return job;
}

struct wd_spool_job *wd_spool_job_new(enum wd_spool_job_kind kind) {
  struct wd_spool_job *job = calloc(1, sizeof(*job));
  if (job) job->kind = kind;
  return job;
}

void wd_spool_job_free(struct wd_spool_job *job) {
  wd_entry_free(job->entry);
  free(job->answer);
  free(job->memo);
  if (job->answers) wd_arena_free(&job->answers->arena);
  free(job->answers);
  free(job);
}

bool wd_spool_job_records(const struct wd_spool_job *job) {
  return job->kind == WD_JOB_SET_ASIDE || (job->kind == WD_JOB_REMOVE && !job->dropped);
}

struct wd_spool_row wd_spool_row_of(const struct wd_entry *e, const struct wd_spool_row *numbers) {
  struct wd_spool_row row = *numbers;
  row.key = e->row.key;
  row.body = e->row.body;
  return row;
}
