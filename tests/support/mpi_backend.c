/* A stand-in for TensorRT-LLM's C++ backend: it does that backend's MPI calls, and no more.

   leader: all ranks meet when the model loads; rank 0 goes on, the others wait for its end and exit.
   orchestrator: the one rank spawns a worker for each rank of the engine, and meets them.
   Open MPI's header is not needed: its handles are addresses of objects in libmpi. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef void *handle;
static void *mpi;
static handle world;
static int rank, size;

static void *symbol(const char *name) {
    void *found = dlsym(mpi, name);
    if (!found) { fprintf(stderr, "stand-in: libmpi has no %s\n", name); abort(); }
    return found;
}
#define CALL(name, types, ...) ((int (*) types)symbol(name))(__VA_ARGS__)

static void start_once(void) {
    int provided;
    mpi = dlopen("libmpi.so.40", RTLD_NOW | RTLD_GLOBAL);
    if (!mpi) { fprintf(stderr, "stand-in: %s\n", dlerror()); abort(); }
    world = symbol("ompi_mpi_comm_world");
    CALL("MPI_Init_thread", (int *, char ***, int, int *), NULL, NULL, 3, &provided);
    CALL("MPI_Comm_rank", (handle, int *), world, &rank);
    CALL("MPI_Comm_size", (handle, int *), world, &size);
}

static void start(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_once);
}

static void meet(const char *who, handle group) {
    int value = rank + 1, sum = 0;
    CALL("MPI_Allreduce", (const void *, void *, int, handle, handle, handle), &value, &sum, 1,
         symbol("ompi_mpi_int"), symbol("ompi_mpi_op_sum"), group);
    fprintf(stderr, "stand-in: %s met the others, sum %d\n", who, sum);
}

static void wait_for_all(handle group) { CALL("MPI_Barrier", (handle), group); }

#ifdef WORKER
int main(void) {
    handle parent, merged;
    char name[64];
    start();
    CALL("MPI_Comm_get_parent", (handle *), &parent);
    CALL("MPI_Intercomm_merge", (handle, int, handle *), parent, 1, &merged);
    snprintf(name, sizeof name, "worker %d of %d", rank, size);
    meet(name, merged);
    wait_for_all(merged);
    CALL("MPI_Finalize", (void));
    return 0;
}
#else
static handle merged;

void *TRITONBACKEND_ModelInstanceInitialize(void *instance) {
    char name[64];
    start();
    if (getenv("TRTLLM_ORCHESTRATOR")) {
        handle workers;
        CALL("MPI_Comm_spawn", (const char *, char **, int, handle, int, handle, handle *, int *),
             getenv("STAND_IN_WORKER"), NULL, 2, symbol("ompi_mpi_info_null"), 0, symbol("ompi_mpi_comm_self"), &workers, NULL);
        CALL("MPI_Intercomm_merge", (handle, int, handle *), workers, 0, &merged);
        meet("the orchestrator", merged);
        return NULL;
    }
    merged = world;
    snprintf(name, sizeof name, "rank %d of %d", rank, size);
    meet(name, world);
    if (rank) {
        wait_for_all(world);
        CALL("MPI_Finalize", (void));
        exit(0);
    }
    return NULL;
}

void *TRITONBACKEND_ModelInstanceFinalize(void *instance) {
    wait_for_all(merged);
    return NULL;
}

void *TRITONSERVER_ErrorNew(int code, const char *message);

void *TRITONBACKEND_ModelInstanceExecute(void *instance, void **requests, unsigned count) {
    return TRITONSERVER_ErrorNew(1, "the stand-in has no engine");
}
#endif
