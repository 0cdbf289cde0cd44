/* doctor_gpu - what NVIDIA's driver says, asked through its own library at run time, so that msgl
 * itself needs no CUDA to build or run. */
#include <dlfcn.h>
#include <stdio.h>

#include "common/file.h"
#include "deploy/local/doctor.h"

#define CU_COMPUTE_MAJOR 75 /* CUdevice_attribute */
#define CU_COMPUTE_MINOR 76

struct driver {
    int (*init)(unsigned flags);
    int (*version)(int *version);
    int (*device_count)(int *count);
    int (*device_name)(char *name, int len, int device);
    int (*device_memory)(size_t *bytes, int device);
    int (*device_attribute)(int *value, int attribute, int device);
};

static bool load(void *library, struct driver *driver)
{
    static const char *const names[] = {
        "cuInit",          "cuDriverGetVersion",  "cuDeviceGetCount",
        "cuDeviceGetName", "cuDeviceTotalMem_v2", "cuDeviceGetAttribute"};
    void **slots[] = {(void **)&driver->init,          (void **)&driver->version,
                      (void **)&driver->device_count,  (void **)&driver->device_name,
                      (void **)&driver->device_memory, (void **)&driver->device_attribute};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        *slots[i] = dlsym(library, names[i]);
        if (!*slots[i])
            return false;
    }
    return true;
}

static void each_device(struct doctor *doctor, const struct driver *driver, int count)
{
    for (int i = 0; i < count; i++) {
        char name[128] = "?";
        size_t bytes = 0;
        int major = 0, minor = 0;

        driver->device_name(name, sizeof(name), i);
        driver->device_memory(&bytes, i);
        driver->device_attribute(&major, CU_COMPUTE_MAJOR, i);
        driver->device_attribute(&minor, CU_COMPUTE_MINOR, i);
        if (major >= 8)
            doctor_good("GPU %d is an %s with %.0f GiB (compute capability %d.%d).", i, name,
                        (double)bytes / 0x1p30, major, minor);
        else
            doctor_bad(doctor, "GPU %d, %s, has compute capability %d.%d; 8.0 is the least.", i,
                       name, major, minor);
    }
}

static void check_toolkit(void)
{
    void *nccl = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    int (*nccl_version)(int *) = NULL;
    int version = 0;

    if (nccl)
        *(void **)&nccl_version = dlsym(nccl, "ncclGetVersion");
    if (nccl_version && nccl_version(&version) == 0)
        doctor_good("NCCL %d.%d.%d is installed.", version / 10000, version / 100 % 100,
                    version % 100);
    else
        doctor_note("NCCL is not installed: one GPU works, several together do not.");
    if (nccl)
        dlclose(nccl);
    if (file_exists("/usr/local/cuda/bin/nvcc") || file_exists("/usr/bin/nvcc"))
        doctor_good("The CUDA toolkit (nvcc) is installed.");
    else
        doctor_note("nvcc is not in its usual places: msgl can be run here, not built for GPUs.");
}

void doctor_gpu(struct doctor *doctor)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    struct driver driver = {0};
    int count = 0, version = 0, code;

    if (!library) {
        if (file_exists("/dev/nvidiactl"))
            doctor_bad(
                doctor,
                "There is an NVIDIA GPU, but the driver's library libcuda.so.1 cannot be loaded.");
        else
            doctor_note("There is no NVIDIA driver here: the CPU does the work, no GPU.");
        return;
    }
    if (!load(library, &driver)) {
        doctor_bad(doctor, "libcuda.so.1 lacks functions that every driver of this decade has.");
    } else if ((code = driver.init(0)) != 0) {
        doctor_note("The NVIDIA driver is installed but finds no GPU to use (code %d): the CPU "
                    "does the work.",
                    code);
    } else {
        driver.version(&version);
        driver.device_count(&count);
        doctor_good("The NVIDIA driver speaks CUDA %d.%d and sees %d GPU%s.", version / 1000,
                    version % 1000 / 10, count, count == 1 ? "" : "s");
        each_device(doctor, &driver, count);
        check_toolkit();
    }
    dlclose(library);
}
