#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Includes follow the arrows of docs/architecture.md: a folder includes itself and what stands below it, and
# each third-party header is included by one .c file only. Instruction-set headers stay in their level's files.
set -euo pipefail
cd "$(dirname "$0")/.."

# Which folders each folder may include.
declare -A below=(
    [common]="common"
    [kernels]="kernels common"
    [model]="model kernels common"
    [proto]="proto common"
    [coordinator]="coordinator model proto kernels common"
    [worker]="worker model proto kernels common"
    [client]="client model proto kernels common"
    [compress]="compress model proto kernels common"
    [cli]="cli coordinator worker client compress model proto kernels common"
)
# Which folder's one .c file may include a third-party header.
declare -A home=(
    [jansson.h]=common [sodium.h]=common [pcre2.h]=model [zmq.h]=proto
    [mpi.h]=worker [omp.h]=worker [ncurses.h]=cli
)
# C11, POSIX and Linux. A header that is in none of these tables is an error: decide where it belongs.
system=" assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h limits.h locale.h math.h setjmp.h signal.h
 stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h time.h wchar.h
 arpa/inet.h dirent.h dlfcn.h fcntl.h getopt.h glob.h grp.h langinfo.h libgen.h netdb.h netinet/in.h poll.h pthread.h
 pwd.h sched.h semaphore.h spawn.h strings.h sys/epoll.h sys/eventfd.h sys/file.h sys/ioctl.h sys/mman.h sys/prctl.h
 sys/random.h sys/resource.h sys/select.h sys/signalfd.h sys/socket.h sys/stat.h sys/statvfs.h sys/sysinfo.h
 sys/syscall.h sys/time.h sys/timerfd.h sys/types.h sys/uio.h sys/un.h sys/utsname.h sys/vfs.h sys/wait.h sysexits.h
 syslog.h termios.h ucontext.h unistd.h cpuid.h linux/futex.h sys/auxv.h "
system=${system//$'\n'/ }

faults=0
fault() {
    echo "$*"
    faults=$((faults + 1))
}

declare -A users=()
for folder in "${!below[@]}"; do
    [[ -d $folder ]] || continue
    while IFS=: read -r file line text; do
        if [[ $text =~ ^[[:space:]]*#[[:space:]]*include[[:space:]]*\"([^\"]+)\" ]]; then
            header=${BASH_REMATCH[1]}
            if [[ $header != */* ]]; then
                fault "$file:$line: \"$header\" is not included by its path from the root"
            elif [[ " ${below[$folder]} " != *" ${header%%/*} "* ]]; then
                fault "$file:$line: $folder/ may not include ${header%%/*}/ ($header)"
            fi
        elif [[ $text =~ \<([^\>]+)\> ]]; then
            header=${BASH_REMATCH[1]}
            if [[ $header =~ ^(immintrin|x86intrin|arm_neon|arm_acle)\.h$ ]]; then
                [[ $file =~ ^kernels/.*(_|/)(avx2|avx512|neon)(_[a-z]+)?\.[ch]$ ]] ||
                    fault "$file:$line: <$header> belongs in a kernel's own level file"
            elif [[ -n ${home[$header]:-} ]]; then
                users[$header]+="$file "
                [[ $file == "${home[$header]}"/*.c ]] ||
                    fault "$file:$line: <$header> belongs in one .c file of ${home[$header]}/"
            elif [[ $header == protobuf-c/* ]]; then
                fault "$file:$line: <$header> comes with the generated headers only"
            elif [[ $system != *" $header "* ]]; then
                fault "$file:$line: <$header> is in no table of tests/check_layers.sh"
            fi
        fi
    done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' -r "$folder" --include='*.[ch]' --include='*.inc')
done
for header in "${!users[@]}"; do
    files=(${users[$header]})
    ((${#files[@]} == 1)) || fault "<$header> is included by ${#files[@]} files, not one: ${files[*]}"
done
((faults == 0)) || { echo "check_layers: $faults faults" && exit 1; }
echo "check_layers: ok"
